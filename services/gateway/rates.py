"""How many requests are taken: a token bucket for each key, in bounded memory. Each gateway counts for itself."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(slots=True)
class Bucket:
    """A token bucket: `rate` units a second flow in, `capacity` of them at most are kept."""

    rate: float
    capacity: float
    level: float
    seen: float

    def take(self, now: float) -> float:
        """Take one unit, and return 0; or take none, and return in how many seconds there will be one."""
        wait = self.wait(now)
        if not wait:
            self.level -= 1
        return wait

    def wait(self, now: float) -> float:
        """Return in how many seconds there will be a unit; 0 where there is one."""
        self.level = min(self.capacity, self.level + (now - self.seen) * self.rate)
        self.seen = now
        return 0.0 if self.level >= 1 else (1 - self.level) / self.rate


class Buckets:
    """Buckets by key, full at first; of more than `most` keys the one that was not seen for longest is forgotten."""

    def __init__(self, most: int, clock: Clock = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, rate: float, capacity: float) -> float:
        """Take one unit of a key, and return 0; or return in how many seconds there will be one."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None or (bucket.rate, bucket.capacity) != (rate, capacity):
            bucket = self._buckets[key] = Bucket(rate, capacity, capacity, now)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket.take(now)

    def exhausted(self, key: str) -> bool:
        """Tell whether a key has no unit left, without taking one."""
        bucket = self._buckets.get(key)
        return bucket is not None and bucket.wait(self._clock()) > 0
