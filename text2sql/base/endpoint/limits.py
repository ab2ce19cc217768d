"""Rates: never above the limit in any 60 seconds, and close below it.

Leaky buckets (aiolimiter and the like) let a full bucket through at once and then the steady flow, up to twice the
limit within one window, and cannot take back what a request was reserved for but did not use. So each limit here is a
ledger of what was sent in the last window, with an even pace on top, because a server may look at shorter windows.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from dataclasses import dataclass

# A server sees requests later than they were sent, some by more than others. The ledger looks back one second more
# than the minute that the limit is about, which costs 1.6 % of the rate.
WINDOW = 61.0
CREDIT = 1.0  # seconds of unused pace that may be caught up
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 60.0  # seconds after a refusal for the rate: most limits are about a minute


class Limit:
    """At most `per_minute` units in any minute, evenly spread."""

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self.sent: deque[list[float]] = deque()  # [time, units], oldest first
        self.used = 0.0  # units in `sent`
        self.next_at = math.inf  # when the pace allows the next request

    def wait(self, units: float, now: float) -> float:
        """Seconds until `units` may be sent; 0 or less when now."""
        while self.sent and self.sent[0][0] <= now - WINDOW:
            expired = self.sent.popleft()
            self.used -= expired[1]
            expired[0] = -math.inf  # for `settle`, which may come later
        wait = self.next_at - now if self.sent else 0.0
        excess = self.used + units - self.per_minute
        for sent_at, amount in self.sent:
            if excess <= 0:
                break
            excess -= amount
            wait = max(wait, sent_at + WINDOW - now)
        return wait

    def take(self, units: float, now: float) -> list[float]:
        """Books `units` as sent now; returns the entry for `settle`."""
        entry = [now, units]
        earliest = max(self.next_at, now - CREDIT) if self.sent else now
        self.sent.append(entry)
        self.used += units
        self.next_at = earliest + self._seconds(units)
        return entry

    def settle(self, entry: list[float], units: float) -> None:
        """Corrects an entry to what was really used."""
        change = units - entry[1]
        entry[1] = units
        if entry[0] != -math.inf:
            self.used += change
        self.next_at += self._seconds(change)

    def _seconds(self, units: float) -> float:
        return units * WINDOW / self.per_minute


@dataclass
class Ticket:
    """Leave to send one request, given at the monotonic time `sent`; `entry` is its line in the ledger of tokens."""

    estimate: int
    sent: float
    entry: list[float] | None


class Gate:
    """Lets requests through one by one, in the order they came, when every limit allows it.

    Tokens are reserved by the estimate until the first answer is here, then by the largest counts that the server has
    reported: reserving an answer's bound for each request under way would leave part of the limit unused.
    """

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self.requests = Limit(requests_per_minute) if requests_per_minute else None
        self.tokens = Limit(tokens_per_minute) if tokens_per_minute else None
        self.scale = 0.0  # largest ratio seen of prompt tokens to their estimate
        self.longest = 0  # tokens of the longest answer seen
        self.paused_until = self.paused_at = 0.0
        self.waves = 0  # of refusals for the rate, one after a pause after the other, since the last answer
        self.turn = asyncio.Lock()
        self.changed = asyncio.Event()

    async def admit(self, prompt_tokens: int, answer_tokens: int) -> Ticket:
        """Returns when a request may go that is estimated at `prompt_tokens` and bounded by `answer_tokens`."""
        async with self.turn:
            while True:
                now = time.monotonic()
                # No request can be larger than the whole limit: such a one goes alone.
                reserved = prompt_tokens * (self.scale or 1.0) + (self.longest or answer_tokens)
                reserved = min(reserved, self.tokens.per_minute) if self.tokens else reserved
                wait = max(
                    self.paused_until - now,
                    self.requests.wait(1, now) if self.requests else 0.0,
                    self.tokens.wait(reserved, now) if self.tokens else 0.0,
                )
                if wait <= 0:
                    break
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), wait)
            if self.requests:
                self.requests.take(1, now)
            return Ticket(prompt_tokens, now, self.tokens.take(reserved, now) if self.tokens else None)

    def settle(self, ticket: Ticket, prompt_tokens: int, answer_tokens: int) -> None:
        """Replaces what was reserved for a request by what the server says it used."""
        self.scale = max(self.scale, prompt_tokens / max(ticket.estimate, 1))
        self.longest = max(self.longest, answer_tokens)
        if self.tokens and ticket.entry:
            self.tokens.settle(ticket.entry, prompt_tokens + answer_tokens)
            self.changed.set()

    def pause(self, seconds: float) -> None:
        """Holds back all requests: a server that says how long to wait speaks of the account, not of one request."""
        self.paused_until = max(self.paused_until, time.monotonic() + seconds)

    def refused(self, ticket: Ticket, wait: float | None) -> None:
        """Pauses all requests after a refusal for the rate: for `wait`, and twice as long as after the one before.

        Refusals of requests that went out together are one. The first after an answer holds nobody back: some servers
        turn single requests away and take the next.
        """
        if ticket.sent >= self.paused_at:
            self.waves += 1
            self.paused_at = time.monotonic()
            self.pause(min(FIRST_PAUSE * 2.0 ** (self.waves - 2), LONGEST_PAUSE) if self.waves > 1 else 0.0)
        self.pause(wait or 0.0)

    def answered(self) -> None:
        """Notes that the server answers again."""
        self.waves = 0
