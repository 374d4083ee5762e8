"""`python -m gateway`: environment in, exit code out. The one place that looks at the environment.

Exit codes: 0 all is well, 1 the gateway could not serve, 2 the command or the configuration cannot be used, 143 SIGTERM
came before it served.
"""

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    # Before the slow imports: to process 1, as in a container, the kernel delivers no signal that has no handler. An
    # exception instead of `_exit` would be lost where it meets a destructor or a callback of the import system.
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    if find_spec("yarl") is None:
        print("gateway: its packages are not installed here; scripts/run makes .venv/bin/python", file=sys.stderr)
        sys.exit(2)

from yarl import URL

import gateway
from gateway.access.keys import entry_for, is_id, new_key
from gateway.configuration import Configuration, fixed_settings, load, read, reloaded
from gateway.projects.skeleton import write_skeleton
from gateway.settings import Reader, SettingsError
from gateway.settings.document import as_env, as_markdown
from gateway.settings.env_file import merged_environ, read_env_file
from gateway.summary import resolved, welcome
from gateway.telemetry.escaping import escaped
from gateway.workers.sockets import CannotServe

if TYPE_CHECKING:
    from aiohttp import web

ENV_FILE = Path(".env")
FORMATS = {"env": as_env, "markdown": as_markdown}
NOT_INSTALLED = "a package that this configuration needs cannot be imported: {}; requirements.lock lists all of them"
NOT_SERVED = 1
UNUSABLE = 2


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    given = list(arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version")):
        given.insert(0, "serve")
    asked = _parser().parse_args(given)
    try:
        run: Callable[[argparse.Namespace], int] = asked.run
        return run(asked)
    except SettingsError as error:
        for problem in error.problems:
            print(f"gateway: {escaped(problem)}", file=sys.stderr)
        return UNUSABLE
    except ImportError as error:
        print(f"gateway: {NOT_INSTALLED.format(error)}", file=sys.stderr)
        return UNUSABLE
    except CannotServe as error:
        print(f"gateway: {escaped(str(error))}", file=sys.stderr)
        return NOT_SERVED


def _serve(asked: argparse.Namespace) -> int:
    configuration = load(_environ(asked))
    for warning in configuration.warnings:
        print(f"gateway: warning: {escaped(warning)}", file=sys.stderr)
    # Imported late, here and below: the other commands need none of what serves, and are quick without it.
    if configuration.settings.server.workers > 1:
        from gateway.supervise import supervise

        return supervise(configuration, _worker_command(asked), lambda at: _announce(configuration, at))
    from gateway.serve import serve

    return serve(configuration, lambda: _reloaded(configuration, asked), lambda at: _announce(configuration, at))


def _worker_command(asked: argparse.Namespace) -> list[str]:
    env_file = ["--env-file", str(asked.env_file)] if asked.env_file else []
    return [sys.executable, "-m", "gateway", "worker", *env_file]


def _work(asked: argparse.Namespace) -> int:
    try:
        end = socket.socket(fileno=asked.line)
    except OSError as error:
        raise SettingsError(["workers are started by `python -m gateway serve`"]) from error
    configuration = load(_environ(asked))
    from gateway.work import work

    return work(configuration, lambda: _reloaded(configuration, asked), end)


def _check(asked: argparse.Namespace) -> int:
    reader = Reader(_environ(asked))
    configuration = read(reader)
    print(resolved(reader, configuration, time.time()), end="", flush=True)
    _built(configuration)
    return 0


def _openapi(asked: argparse.Namespace) -> int:
    configuration = load(_environ(asked))
    from gateway.downstream.api_document import render

    print(render(_built(configuration)).decode())
    return 0


def _built(configuration: Configuration) -> "web.Application":
    """The application that would be served. Raises ImportError where a package is missing that serving needs."""
    from gateway import serve, supervise, work  # noqa: F401
    from gateway.app import build

    if configuration.is_embedded_default:
        configuration = configuration.with_mock(URL("http://127.0.0.1"))
    return build(configuration, ()).app


def _new_key(asked: argparse.Namespace) -> int:
    if not is_id(asked.id):
        raise SettingsError(["an ID is 1 to 64 of A-Z a-z 0-9 . _ -"])
    secret = new_key()
    print("The key. It is shown this once:", file=sys.stderr, flush=True)
    print(secret, flush=True)
    print("The entry that lets it in, for GATEWAY_API_KEYS or its file:", file=sys.stderr, flush=True)
    print(entry_for(asked.id, secret), flush=True)
    return 0


def _new_project(asked: argparse.Namespace) -> int:
    try:
        written = write_skeleton(asked.name, Path())
    except (ValueError, OSError) as error:
        raise SettingsError([str(error)]) from error
    print(*written, sep="\n")
    return 0


def _settings(asked: argparse.Namespace) -> int:
    reader = Reader({})
    read(reader)
    print(FORMATS[asked.format](reader.variables.values()), end="")
    return 0


def _reloaded(current: Configuration, asked: argparse.Namespace) -> Configuration:
    """The configuration as it is now, with a warning for each setting that a reload cannot take over."""
    fresh = reloaded(current, _environ(asked))
    env_file = read_env_file(asked.env_file or ENV_FILE)
    return replace(fresh, warnings=tuple(fixed_settings(os.environ, env_file)))


def _announce(configuration: Configuration, address: str) -> None:
    if configuration.demo_key is not None:
        print(welcome(address, configuration.demo_key.reveal()), flush=True)


def _environ(asked: argparse.Namespace) -> dict[str, str]:
    return merged_environ(asked.env_file or ENV_FILE, os.environ, required=asked.env_file is not None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gateway", description=gateway.__doc__)
    parser.add_argument("--version", action="version", version=f"gateway {gateway.__version__}")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument("--env-file", type=Path, metavar="PATH", help="instead of .env in this directory")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    serve = commands.add_parser("serve", parents=[configured], help="serve (what is done without a command, too)")
    serve.set_defaults(run=_serve)
    worker = commands.add_parser("worker", parents=[configured])  # no help: it is none that people use
    worker.add_argument("line", type=int)
    worker.set_defaults(run=_work)
    check = commands.add_parser(
        "check", parents=[configured], help="show what is configured, and what is wrong with it"
    )
    check.set_defaults(run=_check)
    openapi = commands.add_parser("openapi", parents=[configured], help="the OpenAPI document of what would be served")
    openapi.set_defaults(run=_openapi)
    keys = commands.add_parser("keys", help="make keys").add_subparsers(metavar="COMMAND", required=True)
    new = keys.add_parser("new", help="a new key, shown once, and the entry that lets it in")
    new.add_argument("id", metavar="ID", help="whose key it is, as the log tells it")
    new.set_defaults(run=_new_key)
    projects = commands.add_parser("projects", help="make projects").add_subparsers(metavar="COMMAND", required=True)
    new = projects.add_parser("new", help="a package to start from, in a folder of its name (docs/projects.md)")
    new.add_argument("name", metavar="NAME", help="what it is called, and where it is served: /projects/NAME")
    new.set_defaults(run=_new_project)
    settings = commands.add_parser("settings", help="every setting there is")
    settings.add_argument("--format", choices=FORMATS, default="env", help="as .env (default) or as tables")
    settings.set_defaults(run=_settings)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
