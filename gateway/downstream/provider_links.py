"""Maps the URLs in a provider's answers to the gateway: in fields, and in message batches if a setting asks for it."""

import asyncio
import json
import re
import time
from collections.abc import Sequence
from typing import Final

from gateway.access.upload_tokens import UploadTokens
from gateway.errors import UpstreamError
from gateway.providers.provider import Provider
from gateway.telemetry.exchange import Exchange, UpstreamCall
from gateway.upstream.content_coding import decoded
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.retries import Answered
from gateway.wire.provider_urls import ProviderUrls, mapped_values

MAX_BATCH_BYTES: Final = 32 << 20
MAPPED_ON_THE_LOOP: Final = 1 << 20  # bytes

_UPLOAD_FIELDS: Final = (b"x-goog-upload-url", b"x-goog-upload-control-url")
_is_batch: Final = re.compile(r"(?:/[^/]+)*/messages/batches(?:/[^/]+(?:/cancel)?)?").fullmatch
_RESULTS_URL: Final = re.compile(rb'("results_url"[ \t\r\n]*:[ \t\r\n]*)("(?:[^"\\]|\\.)*+")')


class ProviderLinks:
    """Maps the URLs in answers. `map_batches` says whether `results_url` in message batches is one of them."""

    def __init__(self, uploads: UploadTokens, *, map_batches: bool = False) -> None:
        self._uploads = uploads
        self.map_batches = map_batches

    def values(self, exchange: Exchange, answered: Answered) -> Sequence[bytes]:
        """The values of the answer's fields. Upload URLs get a token, since Google's SDK sends no key there."""
        response, origin = answered.response, _origin_of(exchange)
        values = mapped_values(response.values, response.layout.urls, _urls_of(answered.provider), origin)
        for name in _UPLOAD_FIELDS:
            at = response.layout.at.get(name)
            if at is not None and values[at] != response.values[at]:
                values[at] = self._signed(values[at], origin, exchange.client or "")
        return values

    def may_change_body(self, target: str) -> bool:
        """Whether URLs in the body of an answer to `target` may be mapped."""
        return self.map_batches and "/batches" in target and _is_batch(target.partition("?")[0]) is not None

    def are_batches(self, response: UpstreamResponse, call: UpstreamCall) -> bool:
        """Whether `response` is a JSON document with message batches."""
        is_whole = response.status in (200, 201) and call.method != "HEAD"
        return (
            self.may_change_body(call.path)
            and is_whole
            and response.field(b"content-type").startswith(b"application/json")
        )

    async def body(self, exchange: Exchange, answered: Answered) -> bytes:
        """The JSON of message batches, without content coding, every byte but those of URLs as it was."""
        response, urls, origin = answered.response, _urls_of(answered.provider), _origin_of(exchange)
        body = await response.read(MAX_BATCH_BYTES)
        if len(body) > MAPPED_ON_THE_LOOP or response.codings:
            mapped = await asyncio.to_thread(_with_mapped_urls, body, response.codings, urls, origin)
        else:
            mapped = _with_mapped_urls(body, (), urls, origin)
        if mapped is None:
            raise UpstreamError(f"{answered.call.provider} sent a content coding that cannot be undone.")
        return mapped

    def _signed(self, url: bytes, origin: bytes, client_id: str) -> bytes:
        target = url.removeprefix(origin).decode("utf-8", "surrogateescape")
        signed = self._uploads.signed(target, client_id, time.time()).encode("utf-8", "surrogateescape")
        return url[: len(url) - len(url.removeprefix(origin))] + signed


def _with_mapped_urls(body: bytes, codings: Sequence[bytes], urls: ProviderUrls, origin: bytes) -> bytes | None:
    def mapped(found: re.Match[bytes]) -> bytes:
        try:
            url = json.loads(found[2]).encode()
        except ValueError:
            return found[0]
        new = urls.mapped(url, origin)
        return found[0] if new == url else found[1] + json.dumps(new.decode()).encode()

    plain = decoded(body, codings) if codings else body
    return None if plain is None else _RESULTS_URL.sub(mapped, plain)


def _urls_of(provider: Provider) -> ProviderUrls:
    assert provider.base_url is not None
    return ProviderUrls(provider.base_url, f"/provider/{provider.name}")


def _origin_of(exchange: Exchange) -> bytes:
    """The origin that the client called; b"" if it named no host."""
    return f"{exchange.scheme}://{exchange.host}".encode() if exchange.host else b""
