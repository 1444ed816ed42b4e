"""How fast one key of a provider may be used: its rate limits, how much at a time, and when to leave it alone.

Pure bookkeeping over a clock that is passed in, in `time.monotonic` seconds.
"""

from services.embedder.settings import BreakerSettings, FlowSettings
from services.embedder.upstream import RateNotice

_MINUTE = 60.0
_BURST_SECONDS = 10.0
#: A limit that is used up without a word on when it starts anew is waited for so long.
_UNKNOWN_RESET_SECONDS = 1.0


class Allowance:
    """So many units a minute, in even flow. One request may go below nothing and is then made up for."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._rate = per_minute / _MINUTE
        # Ten seconds' worth at a time: providers count shorter spans than the minute that they name.
        self._most = max(1.0, _BURST_SECONDS * self._rate)
        self._left = self._most
        self._at = now

    def wait(self, now: float) -> float:
        """Return the seconds until something is left."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return 0.0 if self._left >= 1 else (1 - self._left) / self._rate

    def take(self, units: float) -> None:
        """Take units; what was estimated wrongly can be put right later."""
        self._left -= units


class Pace:
    """The rate limits of one key: configured ones a minute, and those its provider tells, up to a longest hold."""

    def __init__(self, requests: float | None, tokens: float | None, longest_hold: float, now: float) -> None:
        self._longest_hold = longest_hold
        self._requests = None if requests is None else Allowance(requests, now)
        self._tokens = None if tokens is None else Allowance(tokens, now)
        self.blocked_until = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may go."""
        waits = [allowance.wait(now) for allowance in (self._requests, self._tokens) if allowance is not None]
        return max([self.blocked_until - now, 0.0, *waits])

    def sent(self, tokens: float) -> None:
        """Count a request of about so many tokens."""
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def counted(self, estimate: float, tokens: int) -> None:
        """Put right an estimate by what the provider counted."""
        if self._tokens is not None and tokens:
            self._tokens.take(tokens - estimate)

    def block(self, now: float, seconds: float) -> None:
        """Send nothing for some seconds."""
        self.blocked_until = max(self.blocked_until, now + min(seconds, self._longest_hold))

    def notice(self, notice: RateNotice, now: float) -> None:
        """Wait for the next span where a provider says that nothing is left of this one."""
        if notice.requests == 0 or notice.tokens == 0:
            seconds = _UNKNOWN_RESET_SECONDS if notice.reset_seconds is None else notice.reset_seconds
            self.block(now, seconds)


class Window:
    """Requests at a time: one more for each round of answers, half as many where the provider is overloaded.

    Additive increase, multiplicative decrease (Chiu and Jain, 1989), as in TCP.
    """

    def __init__(self, settings: FlowSettings) -> None:
        self._size = float(min(settings.first_window, settings.last_window))
        self._most = settings.last_window
        self._changed = 0.0

    @property
    def size(self) -> int:
        """Requests that may be under way."""
        return int(self._size)

    def answered(self, under_way: int) -> None:
        """Widen it a little, if it was used."""
        if under_way >= self.size - 1:
            self._size = min(self._most, self._size + 1 / self._size)

    def overloaded(self, now: float, sent: float) -> None:
        """Halve it, once for all the requests that were sent before it was last halved."""
        if sent >= self._changed:
            self._size = max(1.0, self._size / 2)
            self._changed = now


class Breaker:
    """Whether a provider is left alone because it failed so often in a row."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failures = 0
        self._seconds = settings.first_seconds
        self._open_until = 0.0
        self.probing = False

    def open_for(self, now: float) -> float:
        """Return for how many seconds nothing is to be asked; 0 while all is well, and when it is to be tried."""
        return max(0.0, self._open_until - now)

    @property
    def on_trial(self) -> bool:
        """Whether it was left alone and has not answered since: one request at a time tells."""
        return self._open_until > 0

    def answered(self) -> None:
        """Take it that the provider works."""
        self._failures, self._seconds, self._open_until = 0, self._settings.first_seconds, 0.0

    def failed(self, now: float, sent: float) -> bool:
        """Count a failure of a request and tell whether it is the one that makes the provider be left alone."""
        self._failures += 1
        if self.on_trial:
            # What was sent before it was left alone says nothing new.
            if sent < self._open_until:
                return False
            self._seconds = min(self._settings.last_seconds, self._seconds * 2)
        elif self._failures < self._settings.failures:
            return False
        self._open_until = now + self._seconds
        return True

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures
