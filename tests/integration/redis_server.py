"""A redis-server of a test's own, on a free loopback port, that can be frozen, killed and started again."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from gateway.settings import Secret
from tests.needing import program
from tests.process import free_port

PASSWORD = "redis-s3cret-0f1e2d3c"
PATIENCE = 10.0


class RedisServer:
    """A context manager; it runs from entering on."""

    def __init__(self) -> None:
        self._program = program("redis-server")
        self._directory = Path(tempfile.mkdtemp())
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> "RedisServer":
        for _ in range(5):  # somebody else may take the port that was free
            self.port = free_port()
            if self.start():
                return self
        raise RuntimeError("redis-server does not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._directory)

    @property
    def url(self) -> Secret:
        return Secret(f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0")

    def start(self) -> bool:
        """Run it, empty; whether it answers."""
        options = {"bind": "127.0.0.1", "port": self.port, "save": "", "appendonly": "no", "requirepass": PASSWORD}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [self._program, *arguments, "--dir", str(self._directory)], stdout=subprocess.DEVNULL
        )
        until = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < until:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(100).startswith((b"+PONG", b"-NOAUTH")):
                        return True
            except OSError:
                time.sleep(0.01)
        self.kill()
        return False

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
