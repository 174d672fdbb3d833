"""What one fuzz target is, and how it is run: its corpus as it stands, then so many damaged inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.damage import damaged

Check = Callable[[bytes], None]
"""Tries one input; raises `AssertionError` where a promise is broken. Any other exception breaks one too."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that reads bytes from outside.

    `promise`: what holds for any of them. `open` gives the check, with whatever it needs running. `examples` are tried
    by CI, `smoke` by every unit run (0: it takes too long for that).
    """

    name: str
    promise: str
    corpus: Sequence[bytes]
    inputs: st.SearchStrategy[bytes]
    open: Callable[[], AbstractContextManager[Check]]
    examples: int
    smoke: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was run."""

    corpus: int
    examples: int
    took_s: float


def pure(
    name: str, promise: str, corpus: Sequence[bytes], check: Check, examples: int, *, odd: Sequence[bytes] = ()
) -> Target:
    """Make a target of a check that needs nothing running. `odd`: what else to put into the corpus to damage it."""

    @contextmanager
    def open_() -> Iterator[Check]:
        yield check

    return Target(name, promise, corpus, damaged(corpus, odd), open_, examples=examples, smoke=60)


def run(target: Target, examples: int, *, same_every_time: bool = False) -> Report:
    """Try the corpus and about `examples` more; the first broken promise is raised, shrunk, with how to repeat it."""
    start = time.monotonic()
    tried = 0
    with target.open() as check:
        for sample in target.corpus:
            check(sample)

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=same_every_time,
            suppress_health_check=list(HealthCheck),
        )
        @given(target.inputs)
        def fuzz(content: bytes) -> None:
            nonlocal tried
            tried += 1
            check(content)

        fuzz()
    return Report(len(target.corpus), tried, time.monotonic() - start)


def one_line(message: str, planted: str = "") -> None:
    """Hold a message to what every one must be: a line that can be shown to anybody."""
    assert message.isprintable(), ascii(message)
    assert not planted or planted not in message
