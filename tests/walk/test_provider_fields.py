"""Which fields a provider gets from the gateway itself, and what becomes of the client's own."""

import pytest

from gateway.wire import shape
from tests.raw_http import connected
from tests.running import KEY, PROVIDER_KEY, Start
from tests.scripted import ScriptedUpstream, answer

MESSAGES = "/provider/anthropic/v1/messages"
CHAT = "/provider/openai/v1/chat/completions"


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)


@pytest.mark.parametrize(
    ("settings", "sent", "version"),
    [
        ({}, {}, "2023-06-01"),
        ({"GATEWAY_ANTHROPIC_VERSION": "2026-10-21"}, {}, "2026-10-21"),
        ({"GATEWAY_ANTHROPIC_VERSION": "2026-10-21"}, {"anthropic-version": "2023-06-01"}, "2023-06-01"),
    ],
)
async def test_a_clients_own_version_of_anthropics_api_wins(
    start: Start, upstream: ScriptedUpstream, settings: dict[str, str], sent: dict[str, str], version: str
) -> None:
    gateway = await start(**settings)
    async with gateway.session.post(MESSAGES, json={}, headers=sent):
        pass
    assert (await upstream.received()).fields.getall("anthropic-version") == [version]


async def test_the_key_goes_in_the_field_that_is_set_and_no_other(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_PROVIDER_OPENAI_CREDENTIAL_FIELD="X-Acme-Key: Token {}")
    sent = {"x-acme-key": "the-clients", "Authorization": f"Bearer {KEY}", "xi-api-key": KEY}
    async with gateway.session.post(CHAT, json={}, headers=sent):
        pass
    got = await upstream.received()
    assert got.fields.getall("x-acme-key") == [f"Token {PROVIDER_KEY}"]
    assert not {"authorization", "x-api-key", "xi-api-key"} & {name.lower() for name in got.fields}


async def test_what_a_provider_echoes_of_its_key_does_not_come_back(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_PROVIDER_OPENAI_CREDENTIAL_FIELD="Authorization: Token {}")
    upstream.will(answer(b"{}", "200 OK", f"X-Echo: Token {PROVIDER_KEY}", "X-Other: 1"))
    async with gateway.session.post(CHAT, json={}) as response:
        assert (response.headers.get("x-echo"), response.headers["x-other"]) == (None, "1")


@pytest.mark.parametrize("field", ["X-API-Key", "api-key", "x-goog-api-key", "xi-api-key", "Ocp-Apim-Subscription-Key"])
async def test_a_gateway_key_is_taken_from_the_fields_of_sdks(
    start: Start, upstream: ScriptedUpstream, field: str
) -> None:
    gateway = await start()
    async with connected(gateway.port) as client:
        for _ in range(4):
            await client.send(
                f"POST {CHAT} HTTP/1.1\r\nHost: gateway\r\n{field}: {KEY}\r\n"
                "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            )
            assert (await client.response()).status == 200
    assert all(KEY not in str(request.fields) for request in upstream.requests)


async def test_further_fields_take_the_place_of_the_clients(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_PROVIDER_OPENAI_FIELDS="X-Team=search;X-Team=ads;X-Request-Id=fixed;User-Agent=gw")
    async with connected(gateway.port) as client:
        for number in range(5):
            await client.send(
                f"POST {CHAT} HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {KEY}\r\nConnection: x-team, keep-alive\r\n"
                f"x-team: mine\r\nX-Request-Id: r{number}\r\nX-Mine: {number}\r\n"
                "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            )
            assert (await client.response()).status == 200
            got = upstream.requests[-1].fields
            assert got.getall("x-team") == ["search", "ads"]
            assert (got.getall("x-request-id"), got.getall("user-agent")) == (["fixed"], ["gw"])
            assert got.getall("x-mine") == [str(number)]
    async with gateway.session.post(MESSAGES, json={}, headers={"X-Team": "mine"}):
        pass
    assert upstream.requests[-1].fields.getall("x-team") == ["mine"]  # another provider's are the client's
