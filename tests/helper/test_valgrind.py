"""The native helper under valgrind: no read of anything that was not written, on any path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from tests.helper.harness import TOKEN, FakeBroker, Place, Said, ok, refusal, serving
from tests.helper.test_answers import HOSTILE

FOUND: Final = 99
"""The exit code that says valgrind found something."""


@pytest.fixture
def watched(install: Callable[[str], Place], need_program: Callable[[str], str]) -> Callable[..., Said]:
    """Give `watched(place, *arguments, **env)`: run the native helper under valgrind."""
    valgrind = [need_program("valgrind"), "-q", f"--error-exitcode={FOUND}", "--leak-check=full", "--track-fds=no"]

    def run(place: Place, *arguments: str, **env: str | None) -> Said:
        said = place.run_as([*valgrind, str(place.helper), *arguments], {"BROKER_TIMEOUT_MS": "25000", **env})
        assert said.code != FOUND, said.err
        return said

    return run


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(HOSTILE)[::6])
def test_hostile_answers_touch_no_foreign_memory(
    install: Callable[[str], Place], watched: Callable[..., Said], kind: str
) -> None:
    """Parsing what is broken reads only what was received."""
    place = install("native")
    with serving(place.socket, HOSTILE[kind]):
        said = watched(place)
    assert (said.code, said.out) == (70, b""), said.err


@pytest.mark.slow
def test_the_usual_ways_through_touch_no_foreign_memory(
    install: Callable[[str], Place], watched: Callable[..., Said]
) -> None:
    """A token, a refusal, a retry, a start: all clean."""
    place = install("native")
    broker = FakeBroker(place)
    with serving(place.socket, b"", ok()):
        assert watched(place, "work", CLAUDECODE="1").out == TOKEN + b"\n"
    with serving(place.socket, refusal(401, b"run: broker login corp")):
        assert watched(place, CLAUDE_CODE_API_KEY_HELPER_TTL_MS="x").code == 77
    broker.behave(exit_code=78)
    assert watched(place, BROKER_AUTOSTART=None).code == 69
    broker.behave(answers=[ok()])
    assert watched(place, BROKER_AUTOSTART=None).out == TOKEN + b"\n"
    broker.stop()


@pytest.mark.slow
def test_hostile_surroundings_touch_no_foreign_memory(
    install: Callable[[str], Place], watched: Callable[..., Said]
) -> None:
    """Variables of every awkward size, and more than there is room for."""
    place = install("native")
    awkward = {f"ANTHROPIC_{length}_URL": "\udcff" * length for length in (0, 1, 4095, 4096, 4097, 100_000)}
    with serving(place.socket, ok()):
        assert watched(place, **awkward).out == TOKEN + b"\n"
        assert watched(place, **{f"CLAUDE_CODE_USE_{number}": "1" for number in range(1000)}).code == 77
