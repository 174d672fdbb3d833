"""Who stands behind a caller: one walk up its ancestry for all who want to know, and cheap for who asks again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import TracebackType
from typing import Final, Self

from broker.engine.callers import by_its_mark, is_claude, may_be_claude
from broker.errors import Refused
from broker.model import Process
from broker.platform.interface import Pinned, Platform

DEPTH_MAX: Final = 32
"""Processes of a caller's ancestry that are looked at."""

REMEMBERED_MAX: Final = 128
"""Processes held on to, each by a descriptor; the one that was met longest ago is let go of first."""

Environment = Callable[[int], bytes | None]
"""What the process of this pid was started with, see `Platform.environment`."""


class Lineage:
    """A caller's ancestry while it is being answered.

    `chain` is nearest first, and ends with `claude`, the nearest Claude Code, where there is one, else as soon as it is
    certain that there is none. Empty where the kernel names no process: it is gone, or in another pid namespace (a
    container).
    """

    def __init__(
        self,
        environment: Environment,
        pinned: Pinned | None = None,
        chain: tuple[Process, ...] = (),
        claude: Process | None = None,
        *,
        borrowed: bool = False,
    ) -> None:
        self.chain = chain
        self.claude = claude
        self._environment = environment
        self._pinned = pinned
        self._borrowed = borrowed

    @cached_property
    def environment(self) -> bytes | None:
        """What the caller was started with, see `Platform.environment`; read once, when somebody wants to know."""
        return self._environment(self.chain[0].pid) if self.chain else None

    def same(self) -> bool:
        """Whether the caller is still the process that was looked at: ask this last, its pid may be handed on."""
        return self._pinned is not None and self._pinned.same()

    def close(self) -> None:
        """Let go of the caller."""
        if self._pinned is not None and not self._borrowed:
            self._pinned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.close()


class Ancestors:
    """Looks up lineages, and remembers who has no Claude Code above them, and the Claude Codes themselves.

    What is remembered of a process holds as long as it keeps its name and parent: a shell that replaces itself by
    Claude Code changes its name. A process that might be Claude Code by its name is looked at anew every time.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def of(self, pid: int) -> Lineage:
        """Look at process `pid` and up to the nearest Claude Code; use it as a context. Raises `Refused`."""
        known = self._recall(pid)
        if known is not None and known.innocent:
            return Lineage(self._platform.environment, known.pinned, (known.pinned.process,), borrowed=True)
        pinned = self._platform.pin(pid) if pid > 0 else None
        if pinned is None:
            return Lineage(self._platform.environment)
        environment = cache(self._platform.environment)  # the caller's is looked at twice
        try:
            chain, claude = self._walk(pinned.process, environment)
        except Refused:
            pinned.close()
            raise
        kept = self._remember(chain, claude, pinned)
        return Lineage(environment, pinned, tuple(chain), claude, borrowed=kept)

    def close(self) -> None:
        """Let go of every process."""
        while self._known:
            self._known.popitem()[1].pinned.close()

    def _walk(self, process: Process, environment: Environment) -> tuple[list[Process], Process | None]:
        chain: list[Process] = []
        at: Process | None = process
        while at is not None:
            if len(chain) == DEPTH_MAX:
                raise Refused(
                    f"pid {process.pid} has more than {DEPTH_MAX} processes above it; ask from a shallower one"
                )
            chain.append(at)
            if is_claude(at, self._platform.arguments):
                return chain, at
            parent = at.parent
            if parent <= 1:
                break
            known = self._recall(parent)
            if known is not None and known.innocent:
                return _judged_by_marks(chain, [known.pinned.process], environment)
            at = known.pinned.process if known is not None else self._platform.process(parent)
        return _judged_by_marks(chain, [], environment)

    def _recall(self, pid: int) -> _Known | None:
        known = self._known.get(pid)
        if known is None:
            return None
        if not known.pinned.same():
            self._known.pop(pid).pinned.close()
            return None
        self._known.move_to_end(pid)
        return known

    def _remember(self, chain: Sequence[Process], claude: Process | None, pinned: Pinned) -> bool:
        """Note what the walk found; return whether `pinned`, the caller, is held from now on."""
        if claude is not None:
            if claude.pid != pinned.process.pid:
                self._pin(claude, innocent=False)
            return False
        for process in chain[1:]:
            if not may_be_claude(process):
                self._pin(process, innocent=True)
        if may_be_claude(chain[0]):
            return False
        self._hold(_Known(pinned, innocent=True))
        return True

    def _pin(self, process: Process, *, innocent: bool) -> None:
        if process.pid in self._known:
            return
        pinned = self._platform.pin(process.pid)
        if pinned is not None and pinned.process != process:  # another one by now
            pinned.close()
        elif pinned is not None:
            self._hold(_Known(pinned, innocent))

    def _hold(self, known: _Known) -> None:
        self._known[known.pinned.process.pid] = known
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)[1].pinned.close()


def _judged_by_marks(
    chain: list[Process], beyond: list[Process], environment: Environment
) -> tuple[list[Process], Process | None]:
    """Look once more at a chain without a Claude Code by name; `beyond`: the next one, already known to be none."""
    whole = [*chain, *beyond]
    claude = by_its_mark(whole, environment)
    return (chain, None) if claude is None else (whole[: whole.index(claude) + 1], claude)


@dataclass(frozen=True, slots=True)
class _Known:
    pinned: Pinned
    innocent: bool
