"""The URL of a message batch's results, in JSON: as it came, or if that is set, the gateway's."""

import gzip
import json
import zlib

import brotli
import pytest
import zstandard

from tests.running import Running, Start
from tests.scripted import ScriptedUpstream, answer, begin, chunk, end

BATCHES = "/provider/anthropic/v1/messages/batches"
ON = {"GATEWAY_MAP_RESULTS_URL": "true"}


def batch(own: str) -> bytes:
    """A batch's JSON, spelled as no encoder here would spell it."""
    return (
        b'{ "id":"b_1", "n": 1.0e2,"results_url" :\n"%b\\/v1\\/messages/batches/b_1/results?a=%%2F&b" , "x":"\\u00e9"}'
        % own.encode()
    )


def mapped(gateway: Running, own: str) -> bytes:
    theirs = b"%b\\/v1\\/messages/batches" % own.encode()
    return batch(own).replace(theirs, f"{gateway.url}{BATCHES}".encode())


async def get(gateway: Running, path: str = "/b_1", method: str = "GET") -> tuple[bytes, dict[str, str]]:
    body = {"data": b"{}", "headers": {"Content-Type": "application/json"}} if method == "POST" else {}
    async with gateway.session.request(method, BATCHES + path, **body) as response:  # type: ignore[arg-type]
        return await response.read(), {name.lower(): value for name, value in response.headers.items()}


async def test_bodies_stay_as_they_are_by_default(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(answer(batch(upstream.url), "200 OK", 'ETag: "1"'))
    body, fields = await get(gateway)
    assert (body, fields["etag"]) == (batch(upstream.url), '"1"')


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/b_1"), ("GET", "?limit=2"), ("POST", ""), ("POST", "/b/cancel")]
)
async def test_the_url_is_mapped_where_that_is_set(
    start: Start, upstream: ScriptedUpstream, method: str, path: str
) -> None:
    gateway = await start(**ON)
    upstream.will(answer(batch(upstream.url), "200 OK", 'ETag: "1"', "Content-MD5: x", "X-Other: 1"))
    body, fields = await get(gateway, path, method)
    assert body == mapped(gateway, upstream.url)
    assert json.loads(body)["results_url"] == f"{gateway.url}{BATCHES}/b_1/results?a=%2F&b"
    assert not {"etag", "content-md5"} & fields.keys()
    assert int(fields.get("content-length", len(body))) == len(body)
    assert (fields["content-type"], fields["x-other"]) == ("application/json", "1")


@pytest.mark.parametrize(
    ("coding", "code"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress), ("zstd", zstandard.compress)],
)
async def test_whatever_the_coding(start: Start, upstream: ScriptedUpstream, coding: str, code: object) -> None:
    gateway = await start(**ON)
    upstream.will(answer(code(batch(upstream.url)), "200 OK", f"Content-Encoding: {coding}"))  # type: ignore[operator]
    body, fields = await get(gateway)
    assert (body, fields.get("content-encoding")) == (mapped(gateway, upstream.url), None)
    assert (await upstream.received()).fields["accept-encoding"] == "identity"


async def test_a_coding_that_cannot_be_undone_is_an_error(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**ON)
    upstream.will(answer(b"?", "200 OK", "Content-Encoding: secret"))
    async with gateway.session.get(f"{BATCHES}/b_1") as response:
        assert (response.status, response.headers["x-gateway-error"]) == (502, "upstream_error")


async def test_a_long_list_in_chunks_is_mapped(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**ON)
    one = batch(upstream.url)
    upstream.will(begin(kind="application/json; charset=utf-8"), *[chunk(one * 1000)] * 9, end())
    body, fields = await get(gateway, "")
    assert body == mapped(gateway, upstream.url) * 9000
    assert fields["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [
        ("/b_1/results", "application/json", "200 OK"),
        ("/b_1", "text/plain", "200 OK"),
        ("/b_1", "application/json", "404 Not Found"),
        ("/b_1", "application/json", "206 Partial Content"),
    ],
)
async def test_nothing_else_is_changed(
    start: Start, upstream: ScriptedUpstream, path: str, kind: str, status: str
) -> None:
    gateway = await start(**ON)
    upstream.will(answer(batch(upstream.url), status, 'ETag: "1"', kind=kind))
    body, fields = await get(gateway, path)
    assert (body, fields["etag"]) == (batch(upstream.url), '"1"')


@pytest.mark.parametrize(
    "body",
    [b'{"results_url":null}', b'{"results_url":"https://e.com/x"}', b'{"a":"\\"results_url\\": \\"x\\""}', b"[1"],
)
async def test_a_body_without_such_a_url_is_as_it_came(start: Start, upstream: ScriptedUpstream, body: bytes) -> None:
    gateway = await start(**ON)
    upstream.will(answer(body))
    assert (await get(gateway))[0] == body
