"""The calls that are slow: nothing waits for them, and there are not too many of them. For one event loop.

A call is slow when the others of its kind have been answered and it has not. Its window stays open in the
ledger until the answer is written down, so what a crash leaves in doubt is known all the same. A request that
carries several recipients (email) is one call, and they are late together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from msgxc.http2 import Patience
from msgxc.model import Channel

#: So many calls in a row of which nothing was answered in time may be slow; then it is the provider, who is
#: waited for. Of emails to fifty people each, one address in a hundred makes two calls in five slow.
IN_A_ROW = 8
#: Seconds: what is usual at most, and for how long the first call is waited for, when nothing is known.
LONGEST_USUAL, FIRST = 1.0, 0.15


@dataclass(slots=True)
class Usual:
    """How long the calls of a channel take that are answered: the mean, and how far they are from it, in
    seconds. Averages that forget, as TCP has them for the same question (RFC 6298 section 2)."""

    mean: float
    off: float

    def note(self, seconds: float) -> None:
        """One more was answered after so long."""
        self.off += (abs(seconds - self.mean) - self.off) / 4
        self.mean += (seconds - self.mean) / 8

    @property
    def longest(self) -> float:
        """After which it may be slow. Some are only a little late: that costs nothing, and waiting for each
        that is slow costs everybody else this time."""
        return self.mean + min(self.off, self.mean)


class Slow:
    """What one process has under way that nobody waits for; at most about `most` calls."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.under_way = 0  # calls
        self._silent: Counter[Channel] = Counter()  # calls in a row of which nothing was answered in time
        self._usual: dict[Channel, Usual] = {}

    @property
    def full(self) -> bool:
        """Whether the next one has to be waited for."""
        return self.under_way >= self._most

    def patience(self, channel: Channel) -> Patience | None:
        """How long a call on this channel waits for its slowest; None: until they have ended."""
        if self.full:
            return None
        usual = self._usual.get(channel)
        return Patience(usual.longest if usual else FIRST)

    def answered(self, channel: Channel, seconds: float) -> None:
        """A call was answered, nearly all of it, within this time, and not waited for any longer."""
        self._silent.pop(channel, None)
        self.learn(channel, seconds)

    def late(self, channel: Channel, seconds: float) -> None:
        """One that was slow was answered. As long as no other has been, that is how long it takes: the
        provider is further away than was thought."""
        if channel not in self._usual:
            self.learn(channel, seconds)

    def silent(self, channel: Channel) -> bool:
        """Nothing of a call was answered in time: whether it may be slow; else it is the provider."""
        self._silent[channel] += 1
        return self._silent[channel] <= IN_A_ROW

    def learn(self, channel: Channel, seconds: float) -> None:
        """So long a call took, however long it was waited for."""
        seconds = min(seconds, LONGEST_USUAL)
        if usual := self._usual.get(channel):
            usual.note(seconds)
        else:
            self._usual[channel] = Usual(seconds, seconds / 4)
