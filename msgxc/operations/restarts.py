"""When a part of the system is started again, and when it counts as hung. No clock and no process in here."""

from __future__ import annotations

from dataclasses import dataclass

#: A part that has run so long has come up well; seconds.
WELL_SECONDS = 300.0
LONGEST_PAUSE = 300.0
#: So many ends in a row, and a person should look; it is tried again all the same.
AGAIN_AND_AGAIN = 5
#: So many questions in a row without an answer, and it is hung. A count: time passes too while all is asleep.
SILENT = 6
#: The same of one that is coming up, and has not answered yet.
SILENT_AT_FIRST = 30
ASK_SECONDS = 5.0


@dataclass(slots=True)
class Restarts:
    """What has become of one part so far. Times are seconds of one clock."""

    begun: float
    every: float = ASK_SECONDS  # how often it is asked
    failures: int = 0
    silent: int = 0
    asked: float = 0.0
    up: bool = False  # it has answered since it was started

    def ended(self, now: float) -> float:
        """It has ended: when to start it again. At once the first time, then after 1, 2, 4, … 300 s."""
        self.failures = 1 if now - self.begun >= WELL_SECONDS else self.failures + 1
        return now + (0.0 if self.failures == 1 else min(2.0 ** min(self.failures - 2, 20), LONGEST_PAUSE))

    def started(self, now: float) -> None:
        """It has been started again."""
        self.begun, self.asked, self.silent, self.up = now, now, 0, False

    def due(self, now: float) -> bool:
        """Whether it is time to ask how it is."""
        return now >= self.asked + self.every

    def answered(self, well: bool, now: float) -> bool:
        """It was asked; whether it is hung."""
        self.asked, self.up = now, self.up or well
        self.silent = 0 if well else self.silent + 1
        return self.silent >= (SILENT if self.up else SILENT_AT_FIRST)

    @property
    def hopeless(self) -> bool:
        """Whether it is time to tell a person."""
        return self.failures == AGAIN_AND_AGAIN
