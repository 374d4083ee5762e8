"""Who keeps what browser tickets stand for."""

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from gateway.access.tickets import MemoryStore, TicketStore
from gateway.settings.redis import RedisSettings


@dataclass(frozen=True, slots=True)
class KeptTickets:
    """A store, and the connection it has to be used within."""

    store: TicketStore
    connection: AbstractAsyncContextManager[object]


def ticket_store_for(redis: RedisSettings, common: TicketStore | None = None) -> KeptTickets:
    """In Redis if there is one; else in the store that the workers have in common; else in this process."""
    if redis.url is None:
        return KeptTickets(common or MemoryStore(), nullcontext())
    # A late import: it takes a tenth of a second, which who has no Redis need not wait at each start.
    from gateway.access.tickets_redis import RedisTicketStore

    store = RedisTicketStore(redis.url, prefix=redis.prefix)
    return KeptTickets(store, store)
