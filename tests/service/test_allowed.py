"""What a person allows and takes back is told as it begins to count."""

from __future__ import annotations

from broker.service.allowed import ALLOWED, DENIED, SHOWN_MAX, Allowed

A, B = ("/a/.claude/settings.json", "1" * 64), ("/b/.claude/settings.json", "2" * 64)


class Told:
    """What was told of some reads, one after the other."""

    def __init__(self, *reads: set[tuple[str, str]]) -> None:
        self.said: list[tuple[str, str]] = []
        allowed = Allowed(lambda what, path: self.said.append((what, path)))
        for pins in reads:
            self.said.clear()
            allowed.heed(frozenset(pins))


def test_each_file_is_told_by_its_path() -> None:
    """Both ways; a file whose present content is allowed instead of an older one is not denied."""
    assert Told(set(), {A, B}).said == [(ALLOWED, A[0]), (ALLOWED, B[0])]
    assert Told({A, B}, {B}).said == [(DENIED, A[0])]
    assert Told({A}, {(A[0], "3" * 64)}).said == [(ALLOWED, A[0])]


def test_what_did_not_change_is_not_told() -> None:
    """The file may be read as often as it likes."""
    assert Told(set(), {A}, {A}).said == []
    assert Told(set()).said == []


def test_what_was_allowed_while_no_daemon_ran_is_told_at_the_first_read() -> None:
    """Else somebody could allow it just before a start, and the trail would never show it."""
    assert Told({A}).said == [(ALLOWED, f"before this start: {A[0]}")]


def test_thousands_at_once_are_counted() -> None:
    """They would push what matters out of the trail."""
    said = Told(set(), {(f"/{number:04}", "1" * 64) for number in range(5000)}).said
    assert len(said) == SHOWN_MAX + 1
    assert said[0] == (ALLOWED, "/0000")
    assert said[-1] == (ALLOWED, f"{5000 - SHOWN_MAX} files more")
