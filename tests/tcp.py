"""How TCP keep-alive is set on connections: of this process by their sockets, of another by the kernel's table."""

import os
import socket
import stat
from pathlib import Path

Address = tuple[str, int]
KEEPALIVE_TIMER = "02"


def keepalive_of(local: Address, peer: Address) -> tuple[int, ...]:
    """SO_KEEPALIVE, idle, interval and count of this process's socket between these addresses."""
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                if sock.family == socket.AF_INET and (sock.getsockname(), sock.getpeername()) == (local, peer):
                    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                    values = [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options]
                    return (sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *values)
        except OSError:  # closed meanwhile, or not connected
            continue
    raise AssertionError(f"this process has no socket from {local} to {peer}")


def seconds_to_probe(local: Address, peer: Address) -> float | None:
    """Until the kernel sends a keep-alive probe from `local`, whoever has that socket; None if it will not."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1:3] == [_in_the_table(local), _in_the_table(peer)]:
            timer, _, ticks = fields[5].partition(":")
            return int(ticks, 16) / os.sysconf("SC_CLK_TCK") if timer == KEEPALIVE_TIMER else None
    raise AssertionError(f"there is no connection from {local} to {peer}")


def _in_the_table(address: Address) -> str:
    return "".join(f"{int(part):02X}" for part in reversed(address[0].split("."))) + f":{address[1]:04X}"
