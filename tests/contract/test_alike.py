"""Responses that look like those before them: each keeps what is its own, however it arrives."""

import pytest

from gateway.errors import GatewayError, UpstreamError, UpstreamTruncated
from gateway.upstream.protocol import UpstreamProtocol
from gateway.upstream.transport import Transport
from gateway.wire import shape
from tests.contract.calling import OK, Open, Whole, a_call, get, post, take_whole
from tests.scripted import ScriptedUpstream, answer, begin, chunk, close, end, pause, reset, send


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)


HEAD = b"HTTP/1.1 200 OK\r\nX-Own: %d\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n"


async def met(transport: Transport, upstream: ScriptedUpstream, times: int = 3) -> None:
    """Let `transport` know the shape of HEAD."""
    for number in range(times):
        upstream.will(send(HEAD % (number, 2) + b"{}"))
        async with transport.send(post(), a_call()) as response:
            assert response.whole() == b"{}" or [piece async for piece in response.chunks()] == [b"{}"]


async def test_each_response_has_its_own_values_and_body(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect()
    for number in range(6):
        upstream.will(answer(b"x" * number, "404 Not here" if number % 2 else "200 OK", f"X-Own: {number}"))
    for number in range(6):
        async with transport.send(post(), a_call()) as response:
            fields = dict(response.fields)
            assert (response.status, response.reason) == ((404, "Not here") if number % 2 else (200, "OK"))
            assert (fields[b"X-Own"], fields[b"Content-Length"]) == (b"%d" % number, b"%d" % number)
            assert fields == {response.fields[at][0]: response.fields[at][1] for at in response.layout.at.values()}
            assert response.ready
            body = response.whole()
            assert (b"".join([piece async for piece in response.chunks()]) if body is None else body) == b"x" * number
    for number in range(6):
        upstream.will(answer(b"y" * number, "200 OK", f"X-Own: {number}"))
        assert await whole(transport, post()) == b"y" * number
    assert (transport.in_use, transport.idle, upstream.connections) == (0, 1, 1)


async def test_one_that_comes_in_two_pieces_is_the_same(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect()
    await met(transport, upstream)
    raw = HEAD % (7, 4) + b"late"
    for at in range(1, len(raw)):
        upstream.will(send(raw[:at]), pause(0.003), send(raw[at:]))
        assert await whole(transport, post()) == b"late"
    assert upstream.connections == 1


@pytest.mark.parametrize("behind", [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"x", b"\r\n"])
async def test_what_comes_behind_answers_nobody(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, behind: bytes
) -> None:
    transport = connect()
    await met(transport, upstream)
    upstream.will(send(HEAD % (1, 4) + b"mine" + behind))
    try:
        assert await whole(transport, post()) == b"mine"
    except GatewayError:
        assert behind == b"x"  # no response, by which the one before it is spoilt, too
    assert await whole(transport, post()) == OK


async def test_one_whose_body_comes_later_is_the_same(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    transport = connect()
    await met(transport, upstream)
    for size in (0, 1, 3):
        rest = b"later"[size:]
        upstream.will(send(HEAD % (1, 5) + b"later"[:size]), *(s for c in rest for s in (pause(0), send(bytes((c,))))))
        assert await whole(transport, post()) == b"later"
        upstream.will(send(HEAD % (1, 5) + b"later"[:size]), pause(0.003), send(rest))
        assert await whole(transport, post()) == b"later"
    big = bytes(range(256)) * 8192
    upstream.will(send(HEAD % (1, len(big)) + big[:10]), pause(0.003), send(big[10:]))
    assert await whole(transport, post()) == big
    assert (transport.in_use, transport.idle, upstream.connections) == (0, 1, 1)


@pytest.mark.parametrize("road", ["direct"])
async def test_a_body_that_is_counted_needs_no_parser(
    upstream: ScriptedUpstream, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = connect()
    await met(transport, upstream)
    monkeypatch.delattr(UpstreamProtocol, "_parse")
    upstream.will(send(HEAD % (1, 5) + b"l"), pause(0.003), send(b"at"), pause(0.003), send(b"er"))
    assert await take_whole(transport, post()) == b"later"


@pytest.mark.parametrize("how", [close, reset])
async def test_an_upstream_may_die_at_every_byte_and_the_body_never_ends_cleanly(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, how: object
) -> None:
    transport = connect()
    await met(transport, upstream)
    for size in range(5):
        upstream.will(send(HEAD % (1, 5)), pause(0.003), send(b"later"[:size]), pause(0.001), how())  # type: ignore[operator]
        with pytest.raises(UpstreamTruncated):
            await whole(transport, post())
        assert (transport.in_use, transport.idle) == (0, 0)


@pytest.mark.parametrize("behind", [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"x", b"\r\n"])
async def test_what_comes_behind_a_body_that_came_later_answers_nobody(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, behind: bytes
) -> None:
    transport = connect()
    await met(transport, upstream)
    upstream.will(send(HEAD % (1, 4) + b"m"), pause(0.003), send(b"ine" + behind))
    try:
        assert await whole(transport, post()) == b"mine"
    except GatewayError:
        assert behind == b"x"  # no response, by which the one before it is spoilt, too
    assert await whole(transport, post()) == OK


@pytest.mark.parametrize("road", ["direct"])
@pytest.mark.parametrize("behind", [b"HTTP/1.1 200 OK\r\n", b"x", b"\r\n"])
async def test_a_connection_that_brought_more_than_was_counted_is_not_used_again(
    upstream: ScriptedUpstream, connect: Open, behind: bytes
) -> None:
    transport = connect()
    await met(transport, upstream)
    upstream.will(send(HEAD % (1, 4) + b"m"), pause(0.003), send(b"ine" + behind))
    assert await take_whole(transport, post()) == b"mine"
    assert (transport.in_use, transport.idle) == (0, 0)


async def test_one_that_is_cut_is_not_whole(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    transport = connect()
    await met(transport, upstream)
    upstream.will(send(HEAD % (1, 4) + b"cut"), close())
    with pytest.raises(UpstreamTruncated):
        await whole(transport, post())
    upstream.will(send((HEAD % (1, 4))[:-2]), close())
    with pytest.raises(UpstreamError):
        await whole(transport, post())
    assert await whole(transport, post()) == OK


async def test_a_head_with_a_length_and_no_body_is_known_for_what_was_asked(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect()
    await met(transport, upstream)
    upstream.will(send(HEAD % (1, 4)))
    assert await whole(transport, get(method="HEAD")) == b""
    upstream.will(send(HEAD % (1, 0)))
    assert await whole(transport, post()) == b""


@pytest.mark.parametrize("field", ["X-Own: a\x00b", "X-Own: a\rb", "Content-Length: 9"])
async def test_a_head_that_would_be_refused_is_refused(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, field: str
) -> None:
    transport = connect()
    await met(transport, upstream)
    raw = (HEAD % (1, 2) + b"{}").replace(b"X-Own: 1", field.encode())
    upstream.will(send(raw), close())
    with pytest.raises(UpstreamError):
        await whole(transport, post())


async def test_a_reason_that_is_refused_is_not_learned(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    transport = connect()
    for _ in range(4):
        upstream.will(send((HEAD % (1, 2) + b"{}").replace(b"OK", b"O\0K")), close())
        with pytest.raises(UpstreamError):
            await whole(transport, post())


async def test_streams_between_them_are_streams(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    transport = connect()
    await met(transport, upstream)
    for _ in range(3):
        upstream.will(begin(), chunk(b"data: 1\n\n"), end())
        assert await whole(transport, post()) == b"data: 1\n\n"
        await met(transport, upstream, 1)
    assert upstream.connections == 1


async def test_more_shapes_than_are_kept_are_read_as_well(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shape, "MOST", 2)
    monkeypatch.setattr(shape, "MOST_MET", 2)
    transport = connect()
    for turn in range(40):
        kind = turn * 7 % 5
        upstream.will(answer(b"%d" % kind, "200 OK", f"X-{kind}: {turn}"))
        async with transport.send(post(), a_call()) as response:
            assert dict(response.fields)[b"X-%d" % kind] == b"%d" % turn
            assert (response.whole() or b"".join([piece async for piece in response.chunks()])) == b"%d" % kind
