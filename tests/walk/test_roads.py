"""The road a request took to its provider, as an operator sees it."""

from collections.abc import AsyncIterator

import pytest

from gateway.telemetry.exchange import Road
from tests.running import KEY, Running, Start
from tests.scripted import ScriptedUpstream


async def a_form() -> AsyncIterator[bytes]:
    yield b"--x\r\n\r\n--x--"


@pytest.mark.parametrize(
    ("setting", "small", "streamed"),
    [("auto", "direct", "session"), ("direct", "direct", "direct"), ("session", "session", "session")],
)
async def test_the_road_is_on_the_record_and_in_the_metrics(
    start: Start, upstream: ScriptedUpstream, setting: str, small: str, streamed: str
) -> None:
    gateway = await start(GATEWAY_UPSTREAM_ROAD=setting)
    await called(gateway, json={})
    await called(gateway, data=a_form(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    calls = [(await gateway.exchange(number)).calls[0] for number in (1, 2)]
    assert [call.road for call in calls] == [Road(small), Road(streamed)]
    async with gateway.session.get("/metrics", headers={"X-API-Key": KEY}) as response:
        lines = [line for line in (await response.text()).splitlines() if line.startswith("gateway_upstream_roads")]
    assert {line.split('road="')[1].split('"')[0]: line[-1] for line in lines} == (
        {small: "2"} if small == streamed else {small: "1", streamed: "1"}
    )
    assert (await upstream.received(2)).body == b"--x\r\n\r\n--x--"


async def called(gateway: Running, **request: object) -> None:
    async with gateway.session.post("/provider/openai/v1/files", **request) as response:  # type: ignore[arg-type]
        assert response.status == 200
        await response.read()
