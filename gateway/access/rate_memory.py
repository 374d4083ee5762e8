"""Buckets kept in memory: exact within this process, and forgotten when they are whole again."""

from collections.abc import Callable
from time import monotonic

from gateway.access.rate import Amounts, Bucket, Buckets, Verdict

EXAMINED = 2
"""Old buckets that are looked at for each new one, so that idle ones go as fast as others come."""


class Level:
    """How much of a bucket was used, as of an instant."""

    __slots__ = ("at", "rate", "used")

    def __init__(self, used: float, rate: float, at: float) -> None:
        self.used = used
        self.rate = rate
        self.at = at

    def is_whole(self, now: float) -> bool:
        return self.used <= (now - self.at) * self.rate


class MemoryLimiter:
    """A RateLimiter for one process."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._levels: dict[str, Level] = {}

    async def admit(self, buckets: Buckets, amounts: Amounts) -> Verdict:
        return self.decide(buckets, amounts)

    def decide(self, buckets: Buckets, amounts: Amounts) -> Verdict:
        """`admit`, at once."""
        now, get = self._clock(), self._levels.get
        found: list[Level | None] = []
        remaining: list[float] = []
        violated: tuple[int, ...] = ()
        for position, bucket in enumerate(buckets):
            level, amount = get(bucket.id), amounts[position]
            if level is None:
                used = amount
            else:
                used = level.used - (now - level.at) * level.rate
                used = level.used = used if used > 0.0 else 0.0
                level.at, level.rate = now, bucket.rate  # which is another once the rules have changed
                used += amount
            if used > bucket.ceiling and amount > 0.0:
                violated = (*violated, position)
            found.append(level)
            remaining.append(bucket.most - used)
        if violated:
            still = tuple([left + amounts[position] for position, left in enumerate(remaining)])
            return Verdict(False, buckets, amounts, still, violated)
        for position, level in enumerate(found):
            if level is not None:
                level.used += amounts[position]
            elif amounts[position] > 0.0:
                self._begin(buckets[position], amounts[position], now)
        if None in found:
            self._forget(now)
        return Verdict(True, buckets, amounts, tuple(remaining))

    def settle(self, verdict: Verdict, used: Amounts) -> None:
        taken = verdict.amounts
        for position, bucket in enumerate(verdict.buckets):
            if used[position] != taken[position]:
                self.add(bucket, used[position] - taken[position])

    def add(self, bucket: Bucket, amount: float) -> None:
        """Take `amount` more, whether it is there or not; give back what is below 0."""
        now = self._clock()
        level = self._levels.get(bucket.id)
        if level is None:
            if amount > 0.0:
                self._begin(bucket, amount, now)
            return
        used = level.used - (now - level.at) * level.rate
        used = (used if used > 0.0 else 0.0) + amount
        level.used, level.at = used if used > 0.0 else 0.0, now

    def __len__(self) -> int:
        return len(self._levels)

    def _begin(self, bucket: Bucket, used: float, now: float) -> None:
        self._levels[bucket.id] = Level(used, bucket.rate, now)

    def _forget(self, now: float) -> None:
        """Let go of the oldest, as far as they are whole; the others go to the end of the queue."""
        levels = self._levels
        for _ in range(min(EXAMINED, len(levels))):
            oldest = next(iter(levels))
            level = levels.pop(oldest)
            if not level.is_whole(now):
                levels[oldest] = level
