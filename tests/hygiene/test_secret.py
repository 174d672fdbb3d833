"""A secret cannot be shown by accident, whatever is done to it."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

import pytest

from broker.model import Issued
from broker.secret import Secret, scrub

TEXT: Final = "fake-secret-text"
SECRET: Final = Secret(TEXT)

WAYS: Final[dict[str, Callable[[], Any]]] = {
    "repr": lambda: repr(SECRET),
    "str": lambda: str(SECRET),
    "f-string": lambda: f"{SECRET} {SECRET!r} {SECRET!s} {SECRET:>40}",
    "percent": lambda: "%s %r" % (SECRET, SECRET),  # noqa: UP031  # as logging does it
    "format": lambda: "{0} {0!r} {0:x}".format(SECRET),  # noqa: UP032  # as some templates do it
    "container": lambda: str([SECRET, (SECRET,), [SECRET]]),
    "dataclass": lambda: repr(Issued({"token": SECRET})),
    "asdict": lambda: asdict(Issued({"token": SECRET})),
    "dir": lambda: dir(SECRET),
    "fingerprint": lambda: SECRET.fingerprint(b"k"),
    "json": lambda: json.dumps({"a": SECRET}),
    "json, default": lambda: json.dumps({"a": SECRET}, default=str),
    "pickle": lambda: pickle.dumps(SECRET),
    "copy": lambda: copy.copy(SECRET),
    "deepcopy": lambda: copy.deepcopy([SECRET]),
    "vars": lambda: vars(SECRET),
    "hash": lambda: {SECRET: 1},
    "iteration": lambda: list(SECRET),  # type: ignore[call-overload]  # that it cannot be is the point
    "bytes": lambda: bytes(SECRET),  # type: ignore[call-overload]  # the same
    "sum": lambda: "x" + SECRET,  # type: ignore[operator]  # the same
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_shows_it(way: str) -> None:
    """It is refused, or it gives something without the text; an error does not quote it either."""
    try:
        shown = str(WAYS[way]())
    except (TypeError, ValueError):
        shown = traceback.format_exc()
    assert TEXT not in shown


def test_a_log_does_not_show_it(caplog: pytest.LogCaptureFixture) -> None:
    """As argument, as message, and in a traceback with the frames' own words."""
    log = logging.getLogger("test")
    log.warning("it is %s", SECRET)
    log.warning(SECRET)
    try:
        fail_with(SECRET)
    except ValueError:
        log.exception("failed")
    assert len(caplog.records) == 3
    assert TEXT not in caplog.text


def fail_with(detail: object) -> None:
    """Raise as a careless program does."""
    raise ValueError(detail)


def test_reveal_is_the_way_out() -> None:
    """And the only one; two secrets of the same text are equal, and equal to nothing else."""
    assert SECRET.reveal() == TEXT
    assert Secret(TEXT) == SECRET
    assert Secret(TEXT) != TEXT
    assert Secret("other") != SECRET


def test_a_source_that_quotes_it_is_not_repeated() -> None:
    """Errors are scrubbed of every known secret; what is too short to be one is left, or nothing would be legible."""
    assert scrub(f"denied: {TEXT}, {TEXT}", [SECRET, Secret("d")]) == "denied: ***, ***"
