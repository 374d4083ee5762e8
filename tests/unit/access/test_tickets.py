"""Tickets: good once, for seconds, for one target."""

import pytest

from gateway.access.tickets import MemoryStore, Ticket, Tickets, Used
from gateway.errors import Overloaded, Unauthenticated

SECRET = b"k" * 32
TARGET = "/provider/mock/v1/chat/completions?stream_mode=sse&n=%2F"
NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(max_bytes=10_000, max_count=5, clock=clock)


@pytest.fixture
def tickets(store: MemoryStore) -> Tickets:
    return Tickets(SECRET, 30, store)


async def test_a_ticket_stands_for_the_request_it_was_minted_for(tickets: Tickets) -> None:
    ticket = await tickets.mint("team-a", "POST", TARGET, b'{"a": "\xff"}', NOW)
    assert await tickets.redeem(ticket, TARGET, NOW + 29.9) == Ticket("team-a", "POST", b'{"a": "\xff"}')


async def test_a_ticket_is_good_once(tickets: Tickets) -> None:
    ticket = await tickets.mint("team-a", "POST", TARGET, b"{}", NOW)
    assert isinstance(await tickets.redeem(ticket, TARGET, NOW), Ticket)
    assert isinstance(await tickets.redeem(ticket, TARGET, NOW), Used)
    assert isinstance(await tickets.redeem(ticket, TARGET, NOW + 3600), Used)


async def test_a_ticket_that_comes_too_late_counts_as_used(tickets: Tickets) -> None:
    ticket = await tickets.mint("team-a", "POST", TARGET, b"{}", NOW)
    assert isinstance(await tickets.redeem(ticket, TARGET, NOW + 30), Used)
    assert isinstance(await tickets.redeem(ticket, TARGET, NOW), Used)


@pytest.mark.parametrize(
    "target",
    ["/provider/mock/v1/chat/completions", TARGET + "&", TARGET.replace("%2F", "/"), "/provider/openai/v1", ""],
)
async def test_a_ticket_is_bound_to_the_exact_target_and_not_spent_on_another(tickets: Tickets, target: str) -> None:
    ticket = await tickets.mint("team-a", "POST", TARGET, b"{}", NOW)
    with pytest.raises(Unauthenticated):
        await tickets.redeem(ticket, target, NOW)
    assert isinstance(await tickets.redeem(ticket, TARGET, NOW), Ticket)


async def test_a_forged_ticket_is_refused(tickets: Tickets, store: MemoryStore) -> None:
    ticket = await tickets.mint("team-a", "POST", TARGET, b"{}", NOW)
    by_another = await Tickets(b"x" * 32, 30, MemoryStore()).mint("team-a", "POST", TARGET, b"{}", NOW)
    changed = [ticket[:at] + ("A" if ticket[at] != "A" else "B") + ticket[at + 1 :] for at in range(len(ticket) - 1)]
    for forged in (*changed, by_another, "", "!", "é", ticket[:-4], ticket + "AAAA", "A" * 75, "A" * 100_000):
        with pytest.raises(Unauthenticated) as caught:
            await tickets.redeem(forged, TARGET, NOW)
        assert caught.value.message == "This ticket is not valid here."
    assert len(store) == 1


async def test_another_process_with_the_same_secret_and_store_redeems_it(tickets: Tickets, store: MemoryStore) -> None:
    ticket = await tickets.mint("team-a", "POST", TARGET, b"{}", NOW)
    assert isinstance(await Tickets(SECRET, 30, store).redeem(ticket, TARGET, NOW), Ticket)


async def test_a_target_may_hold_bytes_that_are_no_text(tickets: Tickets) -> None:
    target = b"/provider/mock/\xff".decode("utf-8", "surrogateescape")
    ticket = await tickets.mint("team-a", "POST", target, b"{}", NOW)
    assert isinstance(await tickets.redeem(ticket, target, NOW), Ticket)


async def test_tickets_fit_into_a_query_and_tell_nothing(tickets: Tickets, store: MemoryStore) -> None:
    ticket = await tickets.mint("team-a", "POST", TARGET, b"a very private prompt", NOW)
    assert set(ticket) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert await tickets.mint("team-a", "POST", TARGET, b"a very private prompt", NOW) != ticket
    redeemed = await tickets.redeem(ticket, TARGET, NOW)
    shown = f"{tickets!r} {store!r} {redeemed!r}"
    assert "private" not in shown
    assert ticket not in shown
    assert repr(SECRET) not in shown


async def test_the_store_refuses_what_is_too_much_and_keeps_what_it_has(tickets: Tickets, store: MemoryStore) -> None:
    ticket = await tickets.mint("team-a", "POST", TARGET, b"x" * 9_000, NOW)
    with pytest.raises(Overloaded) as caught:
        await tickets.mint("team-a", "POST", TARGET, b"x" * 2_000, NOW)
    assert caught.value.retry_after == 30
    assert isinstance(await tickets.redeem(ticket, TARGET, NOW), Ticket)
    for _ in range(5):
        await tickets.mint("team-a", "POST", TARGET, b"", NOW)
    with pytest.raises(Overloaded):
        await tickets.mint("team-a", "POST", TARGET, b"", NOW)


async def test_tickets_that_nobody_used_make_room(tickets: Tickets, store: MemoryStore, clock: Clock) -> None:
    for _ in range(5):
        await tickets.mint("team-a", "POST", TARGET, b"x" * 1_500, NOW)
    clock.now += 30
    for _ in range(5):
        await tickets.mint("team-a", "POST", TARGET, b"x" * 1_500, NOW + 30)
    assert len(store) == 5
    clock.now += 30
    assert await store.take("unknown") is None
    assert repr(store) == "MemoryStore(0 tickets, 0 bytes)"
