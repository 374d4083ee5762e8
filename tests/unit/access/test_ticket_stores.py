"""Who keeps what browser tickets stand for."""

from gateway.access.ticket_stores import ticket_store_for
from gateway.access.tickets import MemoryStore
from gateway.access.tickets_redis import RedisTicketStore
from gateway.settings import Secret
from gateway.settings.redis import RedisSettings


async def test_tickets_are_kept_in_redis_if_there_is_one_and_else_here() -> None:
    here, there = RedisSettings(), RedisSettings(Secret("redis://127.0.0.1:1/0"))
    for settings, kind in ((here, MemoryStore), (there, RedisTicketStore)):
        kept = ticket_store_for(settings)
        assert isinstance(kept.store, kind)
        async with kept.connection:  # which waits for nobody
            pass
