"""The Dockerfile, built and run by buildah without a container engine: on a base of Debian's own Python."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import needing

BASE = "docker.io/library/python:3.11-slim-bookworm"
IMAGE = "localhost/llm-gateway:test"
NOT_INSTALLED = ("doc", "man", "locale", "info")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BUILD_SECONDS = 400


@dataclass(frozen=True)
class Storage:
    """A place of its own for images, thrown away with `folder`."""

    folder: Path
    program: str

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CONTAINERS_STORAGE_CONF": f"{self.folder}/storage.conf", "TMPDIR": str(self.folder)}

    def run(self, *arguments: str) -> str:
        """What a buildah command says; AssertionError with all it said if it fails."""
        done = subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
        assert done.returncode == 0, f"buildah {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@dataclass(frozen=True)
class Image:
    """A built image, and a container made from it."""

    storage: Storage
    container: str

    @property
    def config(self) -> dict[str, Any]:
        """What stands in the image about how to run it."""
        inspected: dict[str, Any] = json.loads(self.storage.run("inspect", "--type", "image", IMAGE))
        config: dict[str, Any] = inspected["Docker"]["config"]
        return config

    @property
    def size(self) -> dict[str, int]:
        """Bytes, by the name of the image."""
        listed = json.loads(self.storage.run("images", "--json"))
        return {name: int(float(image["size"].split()[0]) * 1e6) for image in listed for name in image["names"]}

    def says(self, *command: str) -> str:
        """What a command in the container says on standard output."""
        return self.storage.run("run", "--isolation", "chroot", self.container, "--", *command)

    def with_layers_of(self, folder: Path, name: str) -> "Image":
        """An image called `name` that the Dockerfile in `folder` builds on this one."""
        self.storage.run(
            *("bud", "--isolation", "chroot", "--format", "docker", "--network", "host", "--pull-never"),
            *("--layers=false", "--tag", name, str(folder)),
        )
        return Image(self.storage, self.storage.run("from", "--pull-never", name).strip())

    def exit_code(self, *command: str, mount: tuple[Path, str] | None = None, **variables: str) -> int:
        """How a command in the container ends; with a directory of this machine mounted to be read, if there is one."""
        mounted = ["--volume", f"{mount[0]}:{mount[1]}:ro"] if mount else []
        options = ["--isolation", "chroot", *mounted, *_set(variables)]
        return subprocess.run(
            [self.storage.program, "run", *options, self.container, "--", *command],
            env=self.storage.environment,
            capture_output=True,
            timeout=60,
        ).returncode

    @property
    def files(self) -> Path:
        """Where the container's files can be seen."""
        return Path(self.storage.run("mount", self.container).strip())

    @asynccontextmanager
    async def running(self, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """The image's entry point and command, as an engine would start them; the process that buildah is."""
        command = [*self.config["Entrypoint"], *self.config["Cmd"]]
        process = await asyncio.create_subprocess_exec(
            *(self.storage.program, "run", "--isolation", "chroot", *_set(variables), self.container, "--", *command),
            env=self.storage.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            for pid in reversed(list(descendants(process.pid))):
                os.kill(pid, 9)
            if process.returncode is None:
                process.kill()
                await process.wait()


def built(folder: Path, arguments: Mapping[str, str]) -> Image:
    """The image of this repository, in which a secret lies about that must not get in."""
    storage = _storage(folder)
    _make_base(storage)
    context = folder / "context"
    leave_out = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__", "tests")
    shutil.copytree(needing.ROOT, context, ignore=leave_out)
    (context / ".env").write_text("OPENAI_API_KEY=CANARY-IN-ENV\n")
    (context / "gateway.key").write_text("CANARY-IN-KEY\n")
    told = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    storage.run(
        *("bud", "--isolation", "chroot", "--format", "docker", "--network", "host", "--pull-never", "--layers=false"),
        *(*told, "--tag", IMAGE, str(context)),
    )
    return Image(storage, storage.run("from", "--pull-never", IMAGE).strip())


def descendants(pid: int) -> Iterator[int]:
    """Every process under this one, parents first, whichever thread started it."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from descendants(child)


def _storage(folder: Path) -> Storage:
    program = needing.program("buildah")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n'
    )
    return Storage(folder, program)


def _make_base(storage: Storage) -> None:
    """Commit Debian with its Python under the name the Dockerfile asks for; it trusts whom this machine trusts."""
    tar = storage.folder / "base.tar"
    subprocess.run(
        [
            *(needing.program("mmdebstrap"), "--variant=minbase", "--include=python3,python3-venv,ca-certificates"),
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in NOT_INSTALLED),
            *("--aptopt=Acquire::Languages none", "--quiet", "bookworm", str(tar)),
        ],
        check=True,
        capture_output=True,
        timeout=BUILD_SECONDS,
    )
    pip = storage.folder / "pip.conf"
    pip.write_text(f"[global]\ncert = {CERTIFICATES}\n")
    container = storage.run("from", "scratch").strip()
    for source, target in ((tar, "/"), (pip, "/etc/pip.conf"), (CERTIFICATES, str(CERTIFICATES))):
        storage.run("add", "--quiet", container, str(source), target)
    tar.unlink()
    storage.run("config", "--env", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
    storage.run("commit", "--quiet", "--rm", "--format", "docker", container, BASE)


def _set(variables: Mapping[str, str]) -> Sequence[str]:
    return [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
