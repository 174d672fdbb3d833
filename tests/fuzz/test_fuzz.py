"""Whatever bytes come from outside, the promise of what reads them holds (`python -m tests.fuzz` for more of them)."""

from __future__ import annotations

import pytest

from tests.fuzz.target import Target, run
from tests.fuzz.targets import TARGETS

QUICK = [target for target in TARGETS if target.smoke]


@pytest.mark.parametrize("target", QUICK, ids=[target.name for target in QUICK])
def test_a_few_inputs_keep_the_promise(target: Target) -> None:
    """A first look in every run, at the same inputs each time."""
    run(target, target.smoke, same_every_time=True)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_thousands_of_inputs_keep_the_promise(target: Target) -> None:
    """The same inputs each time here too, so that what holds once holds: others are tried by the command."""
    assert run(target, target.examples, same_every_time=True).examples >= target.examples * 0.9
