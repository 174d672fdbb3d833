"""An event loop whose time is the test's: it never waits, but jumps to the next moment something is due.

What takes an hour takes no time, in the order in which it would happen; a test that waits for what can never
happen fails at once instead of hanging.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec

from broker.clock import Now

WALL: Final = 1_800_000_000.0
STEP_S: Final = 1e-6
"""Each round of the loop takes so long: also in the test's time, things happen one after the other."""

P = ParamSpec("P")


class VirtualLoop(asyncio.SelectorEventLoop):
    """The standard loop on a clock of its own."""

    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds since the loop began."""
        return self._virtual.at


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("nothing is due, so what the test waits for never happens")
        self.at += STEP_S if ready else max(timeout or 0.0, STEP_S)
        return ready


class VirtualClock:
    """The `Clock` that goes with the loop. `mono` counts sleep, which the loop's timers do not; `wall` can be set."""

    def __init__(self) -> None:
        self._asleep_s = 0.0
        self._set_s = 0.0

    def now(self) -> Now:
        """Read both clocks."""
        at = asyncio.get_running_loop().time() + self._asleep_s
        return Now(WALL + self._set_s + at, at)

    def sleep(self, seconds: float) -> None:
        """Let the machine have slept."""
        self._asleep_s += seconds

    def set(self, seconds: float) -> None:
        """Set the time of day forward or back."""
        self._set_s += seconds


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a `VirtualLoop`."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
