"""`python -m gateway.mock_upstream --host 127.0.0.1 --port 8081`: the mock by itself, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import uvloop

from gateway.mock_upstream.app import mock_app
from gateway.mock_upstream.behaviour import DEMO, Behaviour
from gateway.mock_upstream.serving import serving

DEFAULT_PORT = 8081


def main() -> int:
    """Serve until told to stop; 1 if the address cannot be had."""
    asked = _arguments()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(asked.host, asked.port, Behaviour(delay=asked.delay, pace=asked.pace)))
    except OSError as error:
        print(f"The mock upstream cannot listen on {asked.host}:{asked.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway.mock_upstream", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=tcp_port, default=DEFAULT_PORT, help="0 for any free one (default: %(default)s)")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before an answer (default: %(default)s)")
    parser.add_argument("--pace", type=float, default=DEMO.pace, help="seconds between deltas (default: %(default)s)")
    return parser.parse_args()


def tcp_port(text: str) -> int:
    if not 0 <= int(text) <= 65_535:
        raise ValueError(text)
    return int(text)


async def _serve(host: str, port: int, behaviour: Behaviour) -> None:
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    async with serving(mock_app(behaviour), host, port) as url:
        print(f"mock upstream on {url.origin()}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
