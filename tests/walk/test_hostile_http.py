"""Malformed and ambiguous requests against the connections production serves: refused, or harmless, and it serves on.

Every test runs a small application through `GuardedRunner` over raw sockets; where the loop could matter, on both.
"""

import asyncio
import json
import logging
from dataclasses import replace

import pytest

from tests.guarded_app import BROAD, GOOD, answer_to, assert_refusal, assert_serves_on, on_both_loops, served
from tests.raw_http import connected

HOST = "Host: gateway\r\n"
POST = f"POST /echo HTTP/1.1\r\n{HOST}"
CHUNKED = f"{POST}Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "length and coding": (400, f"{POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "coding and length": (400, f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    "two lengths, equal": (400, f"{POST}Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
    "two lengths, different": (400, f"{POST}Content-Length: 4\r\ncontent-length: 2\r\n\r\nabcd"),
    "a list of lengths": (400, f"{POST}Content-Length: 4, 4\r\n\r\nabcd"),
    "length with a plus": (400, f"{POST}Content-Length: +4\r\n\r\nabcd"),
    "length with a minus": (400, f"{POST}Content-Length: -4\r\n\r\nabcd"),
    "length in hex": (400, f"{POST}Content-Length: 0x4\r\n\r\nabcd"),
    "length with an underscore": (400, f"{POST}Content-Length: 1_0\r\n\r\nabcd"),
    "length with a blank inside": (400, f"{POST}Content-Length: 4 4\r\n\r\nabcd"),
    "empty length": (400, f"{POST}Content-Length:\r\n\r\nabcd"),
    "length beyond 64 bits": (400, f"{POST}Content-Length: 99999999999999999999999\r\n\r\nabcd"),
    "length 2^64-1": (413, f"{POST}Content-Length: 18446744073709551615\r\n\r\nabcd"),
    "coding gzip": (400, f"{POST}Transfer-Encoding: gzip\r\n\r\n"),
    "coding identity": (400, f"{POST}Transfer-Encoding: identity\r\n\r\n"),
    "coding xchunked": (400, f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "coding gzip, chunked": (400, f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "coding chunked, gzip": (400, f"{POST}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    "coding chunked, chunked": (400, f"{POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "coding chunked twice": (400, f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "coding chunked, then identity": (400, f"{POST}Transfer-Encoding: chunked\r\nTransfer-encoding: identity\r\n\r\n"),
    "coding with a leading comma": (400, f"{POST}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    "coding in quotes": (400, f'{POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    "coding with a parameter": (400, f"{POST}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    "coding after a vertical tab": (400, f"{POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "empty coding": (400, f"{POST}Transfer-Encoding:\r\n\r\n"),
    "empty coding, then chunks": (400, f"{POST}Transfer-Encoding:\r\n\r\n0\r\n\r\n"),
    "coding in HTTP/1.0": (400, "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "bare LF after the request line": (400, f"GET /echo HTTP/1.1\n{HOST}\r\n"),
    "bare LF after a field": (400, f"GET /echo HTTP/1.1\r\n{HOST}X: y\n\r\n\r\n"),
    "bare LF at the end": (400, f"GET /echo HTTP/1.1\r\n{HOST}\n"),
    "bare CR in a value": (400, f"GET /echo HTTP/1.1\r\n{HOST}X: a\rb\r\n\r\n"),
    "bare CR before a field": (400, f"GET /echo HTTP/1.1\r\n{HOST}\rX: y\r\n\r\n"),
    "obs-fold": (400, f"GET /echo HTTP/1.1\r\n{HOST}X: a\r\n b\r\n\r\n"),
    "obs-fold with a tab": (400, f"GET /echo HTTP/1.1\r\n{HOST}X: a\r\n\tb\r\n\r\n"),
    "first field folded": (400, f"GET /echo HTTP/1.1\r\n {HOST}\r\n"),
    "NUL in a value": (400, f"GET /echo HTTP/1.1\r\n{HOST}X: a\0b\r\n\r\n"),
    "NUL in a name": (400, f"GET /echo HTTP/1.1\r\n{HOST}X\0Y: a\r\n\r\n"),
    "control byte in a value": (400, f"GET /echo HTTP/1.1\r\n{HOST}X: a\x01b\r\n\r\n"),
    "DEL in a value": (400, f"GET /echo HTTP/1.1\r\n{HOST}X: a\x7fb\r\n\r\n"),
    "control byte in a name": (400, f"GET /echo HTTP/1.1\r\n{HOST}X\x01: a\r\n\r\n"),
    "latin-1 in a name": (400, f"GET /echo HTTP/1.1\r\n{HOST}X\xe9: a\r\n\r\n"),
    "blank before the colon": (400, "GET /echo HTTP/1.1\r\nHost : gateway\r\n\r\n"),
    "tab before the colon": (400, f"GET /echo HTTP/1.1\r\n{HOST}X\t: a\r\n\r\n"),
    "no colon": (400, f"GET /echo HTTP/1.1\r\n{HOST}Xyz\r\n\r\n"),
    "no name": (400, f"GET /echo HTTP/1.1\r\n{HOST}: a\r\n\r\n"),
    "two Hosts": (400, f"GET /echo HTTP/1.1\r\n{HOST}{HOST}\r\n"),
    "two Hosts, different": (400, f"GET /echo HTTP/1.1\r\n{HOST}hOST: other\r\n\r\n"),
    "no Host": (400, "GET /echo HTTP/1.1\r\n\r\n"),
    "empty Host": (400, "GET /echo HTTP/1.1\r\nHost:\r\n\r\n"),
    "Host with a blank": (400, "GET /echo HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "Host with a path": (400, "GET /echo HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "Host with user information": (400, "GET /echo HTTP/1.1\r\nHost: user@a\r\n\r\n"),
    "a list of Hosts": (400, "GET /echo HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    "Host with an open bracket": (400, "GET /echo HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    "Host with a port that is none": (400, "GET /echo HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    "Host in Latin-1": (400, "GET /echo HTTP/1.1\r\nHost: \xe9\r\n\r\n"),
    "unknown method": (400, f"FOO /echo HTTP/1.1\r\n{HOST}\r\n"),
    "method in lower case": (400, f"get /echo HTTP/1.1\r\n{HOST}\r\n"),
    "method that is no token": (400, f"G@T /echo HTTP/1.1\r\n{HOST}\r\n"),
    "CONNECT": (501, f"CONNECT other:443 HTTP/1.1\r\n{HOST}\r\n"),
    "CONNECT with a path": (501, f"CONNECT /echo HTTP/1.1\r\n{HOST}\r\n"),
    "TRACE": (501, f"TRACE /echo HTTP/1.1\r\n{HOST}\r\n"),
    "Icecast": (501, f"SOURCE /echo ICE/1.0\r\n{HOST}\r\n"),
    "HTTP/0.9": (505, f"GET /echo\r\n{HOST}\r\n"),
    "HTTP/0.9, said": (505, f"GET /echo HTTP/0.9\r\n{HOST}\r\n"),
    "HTTP/1.2": (505, f"GET /echo HTTP/1.2\r\n{HOST}\r\n"),
    "HTTP/2.0": (505, f"GET /echo HTTP/2.0\r\n{HOST}\r\n"),
    "HTTP/2 preface": (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/1.10": (400, f"GET /echo HTTP/1.10\r\n{HOST}\r\n"),
    "HTTP/11": (400, f"GET /echo HTTP/11\r\n{HOST}\r\n"),
    "http/1.1": (400, f"GET /echo http/1.1\r\n{HOST}\r\n"),
    "TLS": (400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "absolute-form": (400, f"GET http://other/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, another port": (400, f"GET http://gateway:8080/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, the port of https": (400, f"GET http://gateway:443/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, user information": (400, f"GET http://gateway@gateway/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, another host after user information": (400, f"GET http://gateway:80@x/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, a longer host": (400, f"GET http://gateway.x/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, a backslash": (400, f"GET http://gateway\\x/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, an encoded host": (400, f"GET http://%67ateway/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, no host": (400, f"GET http:///echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, one slash": (400, f"GET http:/gateway/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, a fragment": (400, f"GET http://gateway/echo#part HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, a fragment and no path": (400, f"GET http://gateway#part HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, https in the clear": (400, f"GET https://gateway/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, ws": (400, f"GET ws://gateway/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, two Hosts": (400, f"GET http://gateway/echo HTTP/1.1\r\n{HOST}{HOST}\r\n"),
    "absolute-form, no Host": (400, "GET http://gateway/echo HTTP/1.1\r\n\r\n"),
    "absolute-form, no Host in HTTP/1.0": (400, "GET http://gateway/echo HTTP/1.0\r\n\r\n"),
    "absolute-form, a Host that is none": (400, "GET http://a,b/echo HTTP/1.1\r\nHost: a,b\r\n\r\n"),
    "absolute-form, TRACE": (501, f"TRACE http://gateway/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, CONNECT": (400, f"CONNECT http://gateway/echo HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, HTTP/2": (505, f"GET http://gateway/echo HTTP/2.0\r\n{HOST}\r\n"),
    "absolute-form, user and port": (400, f"GET HTTP://user:word@other:99/echo?z HTTP/1.1\r\n{HOST}\r\n"),
    "absolute-form, another scheme": (400, f"GET file://x/etc HTTP/1.1\r\n{HOST}\r\n"),
    "authority-form": (400, f"GET other:443 HTTP/1.1\r\n{HOST}\r\n"),
    "asterisk-form": (400, f"OPTIONS * HTTP/1.1\r\n{HOST}\r\n"),
    "asterisk-form of GET": (400, f"GET * HTTP/1.1\r\n{HOST}\r\n"),
    "a fragment": (400, f"GET /echo#part HTTP/1.1\r\n{HOST}\r\n"),
    "UTF-8 in the target": (400, f"GET /echo/{'é'.encode().decode('latin-1')} HTTP/1.1\r\n{HOST}\r\n"),
    "Latin-1 in the target": (400, f"GET /echo?\xff HTTP/1.1\r\n{HOST}\r\n"),
    "control byte in the target": (400, f"GET /echo\x01 HTTP/1.1\r\n{HOST}\r\n"),
    "tab in the target": (400, f"GET /echo\tx HTTP/1.1\r\n{HOST}\r\n"),
    "blank in the target": (400, f"GET /echo x HTTP/1.1\r\n{HOST}\r\n"),
    "tabs in the request line": (400, f"GET\t/echo\tHTTP/1.1\r\n{HOST}\r\n"),
    "no target": (400, f"GET HTTP/1.1\r\n{HOST}\r\n"),
    "blank before the method": (400, f" GET /echo HTTP/1.1\r\n{HOST}\r\n"),
    "over-long target": (414, f"GET /echo?{'a' * 9000} HTTP/1.1\r\n{HOST}\r\n"),
    "over-long field": (431, f"GET /echo HTTP/1.1\r\n{HOST}X: {'a' * 17000}\r\n\r\n"),
    "over-long name": (431, f"GET /echo HTTP/1.1\r\n{HOST}{'X' * 17000}: a\r\n\r\n"),
    "many fields": (431, f"GET /echo HTTP/1.1\r\n{HOST}" + "X: y\r\n" * 200 + "\r\n"),
    "large head": (431, f"GET /echo HTTP/1.1\r\n{HOST}" + f"X: {'a' * 15000}\r\n" * 5 + "\r\n"),
    "unknown expectation": (417, f"{POST}Content-Length: 1\r\nExpect: 200-ok\r\n\r\nx"),
    "a second expectation": (417, f"{POST}Content-Length: 1\r\nExpect: 100-continue\r\nExpect: more\r\n\r\nx"),
    "chunk size in hex with 0x": (400, f"{CHUNKED}0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with a plus": (400, f"{CHUNKED}+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with a minus": (400, f"{CHUNKED}-5\r\nhello\r\n0\r\n\r\n"),
    "chunk size after a blank": (400, f"{CHUNKED} 5\r\nhello\r\n0\r\n\r\n"),
    "chunk size before a blank": (400, f"{CHUNKED}5 \r\nhello\r\n0\r\n\r\n"),
    "no chunk size": (400, f"{CHUNKED}\r\nhello\r\n0\r\n\r\n"),
    "huge chunk size": (400, f"{CHUNKED}fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "blank before a chunk extension": (400, f"{CHUNKED}5 ;a=b\r\nhello\r\n0\r\n\r\n"),
    "LF in a chunk extension": (400, f"{CHUNKED}5;a\nhello\r\n0\r\n\r\n"),
    "CR in a chunk extension": (400, f"{CHUNKED}5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "bare LF after a chunk size": (400, f"{CHUNKED}5\nhello\r\n0\r\n\r\n"),
    "bare LF after a chunk": (400, f"{CHUNKED}5\r\nhello\n0\r\n\r\n"),
    "a chunk longer than it says": (400, f"{CHUNKED}3\r\nhello\r\n0\r\n\r\n"),
    "a trailer with a blank in its name": (400, f"{CHUNKED}0\r\nX API: k\r\n\r\n"),
    "many trailers": (431, f"{CHUNKED}0\r\n" + "X: y\r\n" * 200 + "\r\n"),
}


@on_both_loops
async def test_whatever_could_be_read_in_two_ways_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as it:
        for name, (status, sent) in REFUSED.items():
            async with connected(it.port) as client:
                await client.send(sent)
                answer = await client.response()
                assert (name, answer.status) == (name, status)
                assert_refusal(answer, status)
                assert await client.rest() == b"", name
            assert [(one.peer, one.status) for one in it.malformed] == [("127.0.0.1", status)], name
            assert it.malformed.pop().reason.isprintable()
            await assert_serves_on(it)
        assert set(it.handled) == {"/echo"}
        assert len(it.handled) == len(REFUSED)  # the good ones
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@on_both_loops
async def test_a_refused_head_is_refused_byte_by_byte_too() -> None:
    async with served() as it:
        for name in ("length and coding", "obs-fold", "two Hosts", "empty coding, then chunks", "absolute-form"):
            status, sent = REFUSED[name]
            async with connected(it.port) as client:
                for byte in sent:
                    await client.send(byte, 0.0)
                assert_refusal(await client.response(), status)
            assert len(it.malformed) == 1
            it.malformed.clear()
        assert it.handled == []


@on_both_loops
async def test_a_client_that_sends_no_more_can_read_why_it_was_refused() -> None:
    async with served() as it:
        for sent in ("nonsense\r\n\r\n", REFUSED["two Hosts"][1]):
            async with connected(it.port) as client:
                await client.send(sent)
                client.end_of_sending()
                assert_refusal(await client.response(), 400)
                assert await client.rest() == b""
        await assert_serves_on(it)


@pytest.mark.parametrize(
    ("sent", "target", "body"),
    [
        (f"GET  /echo  HTTP/1.1\r\n{HOST}\r\n", "/echo", ""),
        (f"\r\n\r\nGET /echo HTTP/1.1\r\n{HOST}\r\n", "/echo", ""),
        (f"{POST}Content-Length: 0004 \r\n\r\nabcd", "/echo", "abcd"),
        (f'{POST}transfer-encoding:\tCHUNKED\r\n\r\n4;a=b;c="d"\r\nabcd\r\n0\r\n\r\n', "/echo", "abcd"),
        (f"GET /echo HTTP/1.1\r\n{HOST}Content-Length: 4\r\n\r\nabcd", "/echo", "abcd"),
        (f"POST /echo?a=%2e%2e/|\\{{}}&&=;? HTTP/1.1\r\n{HOST}\r\n", "/echo?a=%2e%2e/|\\{}&&=;?", ""),
        ("POST /echo HTTP/1.0\r\nContent-Length: 4\r\n\r\nabcd", "/echo", "abcd"),
        ("GET /echo HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "/echo", ""),
        (f"GET /echo HTTP/1.1\r\n{HOST}Connection: close, content-length\r\n\r\n", "/echo", ""),
    ],
)
async def test_what_is_odd_but_means_one_thing_is_served(sent: str, target: str, body: str) -> None:
    async with served() as it:
        answer = await answer_to(it, sent)
        assert answer.status == 200
        seen = json.loads(answer.body)
        assert (seen["target"], seen["body"]) == (target, body)
        assert it.malformed == []


@on_both_loops
async def test_the_end_of_a_body_is_not_taken_for_the_next_head() -> None:
    begun, ended = f"POST /wait HTTP/1.1\r\n{HOST}Content-Length: 4000\r\n\r\n" + "a" * 1000, "a" * 3000
    async with served(replace(BROAD, max_head_bytes=2000)) as it, connected(it.port) as client:
        await client.send(begun)
        await it.started.wait()
        await client.send(ended, 0.05)
        it.proceed.set()
        assert (await client.response()).status == 200
        await client.send(GOOD)
        assert (await client.response()).status == 200
        assert it.malformed == []


async def test_bytes_of_a_value_that_are_not_utf_8_reach_the_handler_whole() -> None:
    async with served() as it:
        answer = await answer_to(it, f"GET /echo HTTP/1.1\r\n{HOST}X: a\xe9\xffb\r\n\r\n")
        fields = dict(json.loads(answer.body)["fields"])
        assert fields["X"].encode("utf-8", "surrogateescape") == b"a\xe9\xffb"


async def test_nothing_the_client_sent_is_in_the_refusal_or_the_reason() -> None:
    async with served() as it:
        for sent in (
            f"GET /echo HTTP/1.1\r\n{HOST}Authorization: Bearer sk-secret\r\nX: sk-secret\0\r\n\r\n",
            f"sk-secret /echo HTTP/1.1\r\n{HOST}\r\n",
            f"GET sk-secret://x HTTP/1.1\r\n{HOST}\r\n",
            f"GET /sk-secret{'a' * 9000} HTTP/1.1\r\n{HOST}\r\n",
            f"{POST}Transfer-Encoding: sk-secret\r\n\r\n",
            f"{CHUNKED}sk-secret\r\n",
        ):
            async with connected(it.port) as client:
                await client.send(sent)
                assert b"sk-secret" not in await client.rest()
            assert "sk-secret" not in repr(it.malformed.pop())


async def test_the_application_renders_refusals_in_its_own_words() -> None:
    async with served(refusal_body=lambda error: b"<" + error.code.encode() + b">") as it:
        assert (await answer_to(it, REFUSED["two Hosts"][1])).body == b"<malformed_request>"


@on_both_loops
async def test_a_trailer_never_becomes_a_field_of_the_next_request() -> None:
    attack = (
        f"POST /key HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\nX-API-Key: k\r\n\r\n",
        f"GET /key HTTP/1.1\r\n{HOST}\r\n",
    )
    async with served() as it:
        for pieces in (("".join(attack),), (attack[0], 0.05, attack[1])):
            async with connected(it.port) as client:
                await client.send(*pieces)
                first = await client.response()
                assert (first.status, first.field("Connection")) == (401, b"close")
                assert await client.rest() == b""
        await assert_serves_on(it)


@on_both_loops
async def test_an_upgrade_changes_nothing_but_that_the_connection_ends() -> None:
    async with served() as it:
        for upgrade in ("h2c", "websocket", "WebSocket", "TLS/1.0"):
            head = f"POST /echo HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: {upgrade}\r\n"
            async with connected(it.port) as client:
                await client.send(f"{head}Content-Length: 5\r\n\r\nhelloGET /ignore HTTP/1.1\r\n{HOST}X: ", 0.05)
                await client.send(f"GET /ignore HTTP/1.1\r\n{HOST}\r\n")
                answer = await client.response()
                assert (answer.status, json.loads(answer.body)["body"]) == (200, "hello")
                assert answer.field("Connection") == b"close"
                assert await client.rest() == b""
        assert "/ignore" not in it.handled
        await assert_serves_on(it)


async def test_bytes_behind_an_upgrade_are_not_kept() -> None:
    async with served() as it:
        async with connected(it.port) as client:
            await client.send(f"GET /wait HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            await it.started.wait()
            sending = asyncio.create_task(client.send(bytes(64 * 2**20)))
            done, _ = await asyncio.wait([sending], timeout=0.3)
            assert not done, "64 MiB were taken in"
            it.proceed.set()
            assert (await client.response()).body == b"waited"
            await sending


@on_both_loops
async def test_http_1_0_ends_after_one_answer() -> None:
    async with served() as it:
        async with connected(it.port) as client:
            await client.send("GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GOOD.decode())
            assert (await client.response()).status == 200
            assert await client.rest() == b""
        assert it.handled == ["/echo"]
        async with connected(it.port) as client:
            await client.send("POST /stream HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello")
            assert (await client.response()).body == b"hello"


@on_both_loops
async def test_a_broken_chunk_ends_a_body_that_a_handler_is_reading(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as it:
        for garbage in ("5 ;a=b\r\nworld\r\n", "zz\r\n", "5\r\nworldly\r\n"):
            async with connected(it.port) as client:
                await client.send(f"{CHUNKED}5\r\nhello\r\n", 0.05, garbage)
                assert_refusal(await client.response(), 400)
            assert len(it.malformed) == 1
            it.malformed.clear()
        async with connected(it.port) as client:
            await client.send(CHUNKED.replace("/echo", "/stream") + "5\r\nhello\r\n", 0.05, "zz\r\n")
            raw = await client.rest()
            assert b"hello" in raw
            assert not raw.endswith(b"0\r\n\r\n"), "looks like a whole response"
        assert len(it.malformed) == 1
        await assert_serves_on(it)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@on_both_loops
async def test_pipelined_requests_are_answered_in_order_and_few_of_them_kept() -> None:
    many = 2000
    async with served() as it:
        async with connected(it.port) as client:
            requests = b"".join(
                f"POST /echo?{n} HTTP/1.1\r\n{HOST}Content-Length: 4\r\n\r\n{n:04}".encode() for n in range(many)
            )
            sending = asyncio.create_task(client.send(requests))
            for n in range(many):
                seen = json.loads((await client.response()).body)
                assert (seen["target"], seen["body"]) == (f"/echo?{n}", f"{n:04}")
            await sending
        async with connected(it.port) as client:
            await client.send(f"GET /wait HTTP/1.1\r\n{HOST}\r\n")
            await it.started.wait()
            upload = f"POST /swallow HTTP/1.1\r\n{HOST}Content-Length: 100000\r\n\r\n".encode() + bytes(100000)
            sending = asyncio.create_task(client.send(upload * 500))
            done, _ = await asyncio.wait([sending], timeout=0.3)
            assert not done, "50 MB were taken in behind one request"
            (connection,) = it.runner.server.connections
            assert len(connection._messages) == BROAD.max_pipelined
            it.proceed.set()
            assert (await client.response()).body == b"waited"
            for _ in range(500):
                assert (await client.response()).body == b"swallowed"
            await sending


@on_both_loops
async def test_a_malformed_request_behind_good_ones_is_refused_in_its_turn() -> None:
    async with served() as it:
        async with connected(it.port) as client:
            await client.send(f"GET /wait HTTP/1.1\r\n{HOST}\r\n", GOOD, 0.05, REFUSED["obs-fold"][1], GOOD)
            await it.started.wait()
            it.proceed.set()
            assert (await client.response()).body == b"waited"
            assert (await client.response()).status == 200
            assert_refusal(await client.response(), 400)
            assert await client.rest() == b""
        assert len(it.malformed) == 1
        assert it.handled == ["/wait", "/echo"]
