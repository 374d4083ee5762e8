"""What is measured: the gateway with everything switched on, its relay without anything, an nginx that only relays."""

import asyncio
import os
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEY = "gw_bench-3f9c1e7a5b2d4860-9e8d7c6b5a4f3e2d"
NGINX = """
daemon off; worker_processes 1; worker_rlimit_nofile 65536; {user}
pid {folder}/nginx.pid; error_log {folder}/nginx.log crit;
events {{ worker_connections 32768; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_buffer_size 64k; client_max_body_size 0;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{
    proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_buffering off; proxy_request_buffering off; }} }}
}}
"""


class NotStarted(Exception):
    """A subject that cannot be measured, and why."""


@dataclass
class Subject:
    """A process between clients and upstream."""

    name: str
    port: int
    path: str
    process: asyncio.subprocess.Process
    started_in: float

    def _pids(self) -> list[int]:
        found, at = [self.process.pid], 0
        while at < len(found):
            for children in Path(f"/proc/{found[at]}/task").glob("*/children"):
                found += map(int, children.read_text().split())
            at += 1
        return found

    def cpu(self) -> float:
        """Microseconds that all its threads have run."""
        return (
            sum(
                int(task.read_text().split()[0])
                for pid in self._pids()
                for task in Path(f"/proc/{pid}/task").glob("*/schedstat")
            )
            / 1e3
        )

    def memory(self) -> float:
        """KiB that are resident and nobody else's."""
        total = 0.0
        for pid in self._pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Private_Clean:", "Private_Dirty:")):
                    total += float(line.split()[1])
        return total

    def pin(self, core: int) -> None:
        """Keep to one core, so that it does not get in the way of who measures."""
        for pid in self._pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {core})

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()


def apart(subjects: list[Subject]) -> None:
    """All on one core, which only one of them uses at a time, and who measures on another."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[-1]})
        for subject in subjects:
            subject.pin(cores[0])


async def plain_nginx(folder: Path, upstream: int) -> Subject:
    """nginx with one worker, no log, and a connection kept for whoever comes."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise NotStarted("nginx is not installed: apt-get install nginx")
    port, user = free_port(), "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, upstream=upstream, port=port, user=user))
    command = [program, "-p", str(folder), "-c", str(configuration), "-e", f"{folder}/nginx.log"]
    return await _started("nginx", port, "/v1/chat/completions", command, folder, {})


async def gateway(folder: Path, upstream: int, **more: str) -> Subject:
    """The gateway as it comes: keys, log, metrics, limits; and traces, which go to the upstream's drain."""
    port = free_port()
    variables = {
        "GATEWAY_PORT": str(port),
        "GATEWAY_API_KEYS": f"bench={KEY}",
        "GATEWAY_PROVIDER_OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}",
        "GATEWAY_PROVIDER_OPENAI_API_KEY": "sk-bench-8c6f1f2e3d4b5a69",
        "GATEWAY_LOG_FILE": f"{folder}/gateway.log",
        "PHOENIX_COLLECTOR_ENDPOINT": f"http://127.0.0.1:{upstream}",
        "PYTHONPATH": str(ROOT),
        **more,
    }
    command = [sys.executable, "-m", "gateway", "serve"]
    return await _started("gateway", port, "/provider/openai/v1/chat/completions", command, folder, variables)


async def bare_relay(folder: Path, upstream: int) -> Subject:
    """The gateway's own connections by themselves, without a single feature."""
    port = free_port()
    command = [sys.executable, str(ROOT / "scripts" / "benchmark" / "bare_relay.py"), str(port), str(upstream)]
    return await _started("bare", port, "/v1/chat/completions", command, folder, {"PYTHONPATH": str(ROOT)})


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def _started(
    name: str, port: int, path: str, command: list[str], folder: Path, variables: dict[str, str]
) -> Subject:
    began = time.perf_counter()
    with (folder / f"{name}.out").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env={"PATH": os.environ["PATH"], **variables}, stdout=out, stderr=out
        )
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if process.returncode is not None or time.perf_counter() - began > 30:
                raise NotStarted(f"{name} does not start: {(folder / f'{name}.out').read_text().strip()}") from None
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return Subject(name, port, path, process, time.perf_counter() - began)
