"""One credential's life under a clock and a source of the test's own: no time passes but what the test says."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from broker.clock import Now
from broker.engine.life import Life
from broker.engine.vocabulary import Failure, Plan, Receipt, Trouble
from broker.model import TOKEN, Issued, Timing

START = Now(wall=1_800_000_000.0, mono=5_000.0)


@dataclass
class Simulation:
    """A `Life`, and the moment it is at. `jitter` fixes what chance gives (0: none, just below 1: the most)."""

    timing: Timing = field(default_factory=Timing)
    jitter: float | None = 0.0
    now: Now = START

    def __post_init__(self) -> None:
        random = Random(1) if self.jitter is None else _Fixed(self.jitter)
        self.life = Life(self.timing, random)

    def after(self, seconds: float) -> Simulation:
        """Let time pass on both clocks."""
        self.now = Now(self.now.wall + seconds, self.now.mono + seconds)
        return self

    def set_clock(self, seconds: float) -> Simulation:
        """Set the time of day forward, or back; no time passes."""
        self.now = Now(self.now.wall + seconds, self.now.mono)
        return self

    def ask(self, ttl_s: float = 300.0) -> Plan:
        """Ask."""
        return self.life.ask(self.now, ttl_s)

    def served(self) -> str:
        """Return the text of what is answered now."""
        return self.life.answer(self.now).issued.parts[TOKEN].reveal()

    def tick(self) -> bool:
        """Let the machine act by itself."""
        return self.life.tick(self.now)

    def give(self, text: str, lifetime_s: float | None = 3600.0) -> bool:
        """Let the running fetch give a token."""
        expires_at = None if lifetime_s is None else self.now.wall + lifetime_s
        return self.life.fetched(self.now, Issued.token(text, expires_at))

    def fail(self, trouble: Trouble = Trouble.TRANSIENT, retry_after_s: float = 0.0) -> None:
        """Let the running fetch fail."""
        self.life.failed(self.now, Failure(trouble, "the source is down", retry_after_s))

    def reject(self) -> bool:
        """Report that upstream refused the token in hand."""
        assert self.life.held is not None
        return self.life.reject(self.now, self.life.held.serial)

    def holding(
        self, text: str = "fake-token-1", lifetime_s: float | None = 3600.0, ttl_s: float = 300.0
    ) -> Simulation:
        """Ask for the first time and be given this token."""
        assert self.ask(ttl_s).fetch
        assert self.give(text, lifetime_s)
        return self

    def receipt(self, *, same_boot: bool = True) -> Receipt:
        """Return what a restart would find of the token in hand."""
        held = self.life.held
        assert held is not None
        return Receipt(held.issued, held.received, held.lifetime_s, same_boot)

    def restarted(self, after_s: float = 0.0, *, set_s: float = 0.0, same_boot: bool = True) -> bool:
        """Let the daemon be killed and start again; in another boot the steady clock begins anew. Is the token alive?"""
        receipt = self.receipt(same_boot=same_boot)
        mono = self.now.mono if same_boot else 0.0
        self.now = Now(self.now.wall + after_s + set_s, mono + after_s)
        self.__post_init__()
        return self.life.restore(self.now, receipt)

    def remaining_s(self) -> float:
        """Seconds that the token in hand has left."""
        assert self.life.held is not None
        return self.life.held.remaining_s(self.now)

    def due_in_s(self) -> float | None:
        """Seconds until the machine acts by itself."""
        at = self.life.wake_at(self.now)
        return None if at is None else at - self.now.mono

    def warned(self) -> list[str]:
        """Codes of the present warnings."""
        return [found.code for found in self.life.warnings(self.now)]


class _Fixed(Random):
    """Chance that always gives the same share."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self._share = share

    def random(self) -> float:
        """Return the share."""
        return self._share
