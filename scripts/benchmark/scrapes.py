"""How late the gateway's event loop is while it is scraped, every metric having as many series as it may have.

The gateway measures that itself: a timer, ten times a second, that observes its own delay.
"""

import asyncio
import re
import time

from load import Client, Streams, connect
from subjects import KEY, Subject

PROVIDERS = 500
"""As many as GATEWAY_METRICS_MAX_SERIES: nearly every metric has the provider or its route for a label."""

LOADING = 2  # connections; more would be served in one turn of the loop, and be what is measured
LAG = re.compile(rb'gateway_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\d+)')


async def fill(streams: Streams, subject: Subject) -> None:
    """Give every provider its series."""
    for number in range(PROVIDERS):
        client = await connect(streams, subject.port, f"/provider/p{number}/v1/chat/completions", KEY)
        await client.ask()
        client.transport.close()


async def lag(streams: Streams, subject: Subject, seconds: float, *, scraped: bool) -> float:
    """The milliseconds that no delay exceeded while requests were served, as closely as the histogram tells."""
    clients = [await connect(streams, subject.port, subject.path, KEY) for _ in range(LOADING)]
    before = await delays(subject)
    until = time.monotonic() + seconds
    loads = [asyncio.create_task(ask_until(client, until)) for client in clients]
    while time.monotonic() < until:
        await (scrape(subject) if scraped else asyncio.sleep(0.1))
    await asyncio.gather(*loads)
    after = await delays(subject)
    for client in clients:
        client.transport.close()
    return 1000 * max(bound for bound, count in after.items() if count > before[bound])


async def ask_until(client: Client, until: float) -> None:
    while time.monotonic() < until:
        await client.ask()


async def delays(subject: Subject) -> dict[float, int]:
    """How many delays lie in each bucket, by its upper bound in seconds."""
    found = [(float(bound), int(count)) for bound, count in LAG.findall(await scrape(subject))]
    below = [0, *(count for _, count in found)]
    return {bound: count - less for (bound, count), less in zip(found, below, strict=False)}


async def scrape(subject: Subject) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", subject.port, limit=1 << 20)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    try:
        return await reader.read()
    finally:
        writer.close()
