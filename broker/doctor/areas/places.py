"""Whether command line, helper and daemon mean the same places: variables of the shell, of Claude Code, of the service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from broker.doctor.claude import Claude
from broker.doctor.finding import Finding, error, fine, warning
from broker.doctor.scene import Places, Scene
from broker.errors import ConfigError

_PLACES: Final = ("BROKER_CONFIG", "BROKER_STATE_DIR", "BROKER_SOCKET")
_TIMEOUT: Final = "BROKER_TIMEOUT_MS"
_TIMEOUT_MAX_MS: Final = 10_000
"""When Claude Code begins to complain of its helper (measured on 2.1.197 and 2.1.330)."""


def check(scene: Scene) -> list[Finding]:
    """Compare where this shell's variables lead with where the others' do."""
    found = [*_claude_code(scene), *_service(scene), *_timeout(scene)]
    return found or [fine("places", f"config {scene.places.config}, state {scene.places.state}")]


def _claude_code(scene: Scene) -> Iterator[Finding]:
    """Claude Code puts the variables of its settings over those of the shell; its helper sees the result."""
    claude = Claude(scene)
    changed = {name: value for name in _PLACES if (value := claude.in_settings(name)) is not None}
    if not changed:
        return
    try:
        theirs = Places.named_by({**scene.env, **{name: one.text or "" for name, one in changed.items()}})
    except ConfigError:
        theirs = None
    if theirs is None or theirs.socket != scene.places.socket:
        where = " and ".join(sorted({one.file for one in changed.values()}))
        yield error(
            "places-differ",
            f"{', '.join(changed)} in the env of {where} leads the helper elsewhere than this shell goes",
            "the helper asks another daemon than the one that you see here",
            f"take {' and '.join(changed)} out of {where}, or set the same in your shell",
        )


def _service(scene: Scene) -> Iterator[Finding]:
    said = [name for name in _PLACES if scene.env.get(name)]
    if not said or not scene.has_units:
        return
    yield warning(
        "places-not-service",
        f"{', '.join(said)} in this shell, but the systemd service uses the default places",
        "two daemons may run, and each knows only its own credentials",
        f"unset {' '.join(said)}; or run without the service: broker setup systemd --undo",
    )


def _timeout(scene: Scene) -> Iterator[Finding]:
    text = scene.env.get(_TIMEOUT, "")
    if text and not (text.isascii() and text.isdigit() and 0 < int(text[:12]) < _TIMEOUT_MAX_MS):
        yield warning(
            "timeout-unfit",
            f"{_TIMEOUT} is not a number of milliseconds from 1 to {_TIMEOUT_MAX_MS - 1}",
            "Claude Code shows a notice when its helper takes 10 s; an unreadable number is not used at all",
            f"unset {_TIMEOUT}",
        )
