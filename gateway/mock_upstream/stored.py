"""What requests leave behind at the mock: files and batches, the newest ones only."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from gateway.mock_upstream.answers import Json
from gateway.mock_upstream.refusal import Refusal

MAX_ITEMS = 200
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class Item:
    """A file or a batch: the document that shows it, and its content."""

    document: Json
    content: bytearray = field(default_factory=bytearray)


class Shelf:
    """Keeps items by their ids, and lets the oldest go when there are too many, or too much is in them."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, Item] = OrderedDict()
        self._count = 0

    def new_id(self) -> str:
        self._count += 1
        return f"{self._count:08}"

    def put(self, id: str, item: Item) -> None:
        self._items[id] = item
        while len(self._items) > MAX_ITEMS or (len(self._items) > 1 and self._bytes() > MAX_BYTES):
            self._items.popitem(last=False)

    def get(self, id: str) -> Item:
        """Raises Refusal(404)."""
        if id not in self._items:
            raise Refusal(404, f"There is no {id!r} at the mock.")
        return self._items[id]

    def delete(self, id: str) -> None:
        """Raises Refusal(404)."""
        self.get(id)
        del self._items[id]

    def documents(self, prefix: str) -> list[Json]:
        """Those whose ids begin with `prefix`, the newest first."""
        return [item.document for id, item in reversed(self._items.items()) if id.startswith(prefix)]

    def _bytes(self) -> int:
        return sum(len(item.content) for item in self._items.values())


SHELF = web.AppKey("SHELF", Shelf)


def append(item: Item, chunk: bytes) -> None:
    """Add to a file. Raises Refusal(413)."""
    if len(item.content) + len(chunk) > MAX_FILE_BYTES:
        raise Refusal(413, f"The mock keeps no file of more than {MAX_FILE_BYTES} bytes.")
    item.content += chunk


def origin(request: web.Request) -> str:
    """The address that this request came to, as providers write it into URLs."""
    return f"{request.scheme}://{request.host}"


def text(value: Any, otherwise: str) -> str:
    return value if isinstance(value, str) and value else otherwise
