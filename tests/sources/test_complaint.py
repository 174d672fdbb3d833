"""What is shown of a failing program's own words."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.sources.complaint import LENGTH_MAX, last_line


@pytest.mark.parametrize(
    ("stderr", "shown"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"one\ntwo\n\n", "two"),
        (b"\x1b[31mError:\x1b[0m denied\r\n", "Error: denied"),
        (b"\x1b]0;title\x07denied", "denied"),
        (b"denied\x00\x08", "denied"),
        (b"bad \xff byte", "bad \N{REPLACEMENT CHARACTER} byte"),
    ],
)
def test_the_last_line_with_words_is_shown_without_control_characters(stderr: bytes, shown: str) -> None:
    """A program cannot paint over a person's terminal through us."""
    assert last_line(stderr, b"", ()) == shown


def test_a_long_line_is_cut() -> None:
    """One line of status has room for 200 characters."""
    assert len(last_line(b"word " * 100, b"", ())) == LENGTH_MAX


@pytest.mark.parametrize(
    ("stdout", "said"),
    [
        (b"fake-token-1\n", b"bad token fake-token-1"),
        (b'{"token": "fake-token-1"}', b"bad token fake-token-1"),
        (b"TOKEN=fake-token-1", b"bad token 'fake-token-1'"),
    ],
)
def test_a_word_of_the_output_is_masked(stdout: bytes, said: bytes) -> None:
    """Also when only a part of what should have been printed was."""
    shown = last_line(said, stdout, ())
    assert "fake-token-1" not in shown
    assert shown.startswith("bad ")
    assert "***" in shown


@pytest.mark.parametrize(
    "secret", ["sk-ant-api03-fake", "hvs.CAESIfake", "ghp_fakefake", "eyJhbGciOiJ9.e30.x", "f" * 40, "AKIAFAKEFAKEFAKE"]
)
def test_what_looks_like_a_key_is_masked(secret: str) -> None:
    """Even one that we never saw."""
    assert secret not in last_line(f"refused {secret} today".encode(), b"", ())


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Authorization: Bearer XYZ", "Authorization: Bearer ***"),
        ("bearer XYZ was refused", "bearer *** was refused"),
        ("Bearer token: XYZ", "Bearer *** ***"),
        ("AWS_SECRET_ACCESS_KEY=XYZ", "AWS_SECRET_ACCESS_KEY=***"),
        ('{"api_key": "X Y\\"Z", "user": "me"}', '{"api_key": ***, "user": "me"}'),
        ("password='X Y Z' is wrong", "password=*** is wrong"),
        ("{'client_secret': 'XYZ'}", "{'client_secret': ***}"),
        ("password => XYZ was wrong", "password =*** was wrong"),
        ("password=>XYZ was wrong", "password=*** was wrong"),
        ("fatal: https://me:XYZ@git.corp.example/: denied", "fatal: https://***@git.corp.example/: denied"),
    ],
)
def test_what_follows_a_word_for_secrets_is_masked(said: str, shown: str) -> None:
    """However short it is."""
    assert last_line(said.encode(), b"", ()) == shown


def test_a_word_of_the_output_hides_no_value_behind_it() -> None:
    """The output may have been JSON with a `token`."""
    assert last_line(b"bad token: XYZ", b'{"token": "fake-token-1"}', ()) == "bad ***: ***"


@given(
    st.sampled_from(
        ["Bearer ", "password=", "token: ", "secret=", "api_key=", "API-KEY = ", "Authorization: Basic ", "--token="]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'"), min_size=1, max_size=60),
)
def test_a_value_planted_after_such_a_word_never_shows(word: str, value: str) -> None:
    """Nothing of it, not even its length; rather a word too much is masked than a character too little."""
    assume(value.lower() not in {"bearer", "basic"})  # these say what follows, and what follows is masked
    shown = last_line(f"refused {word}{value} today".encode(), b"", ())
    assert shown in {f"refused {word}*** today", f"refused {word}***", f"refused {word}*** ***"}


@pytest.mark.slow
def test_a_hostile_line_takes_no_time() -> None:
    """No pattern backtracks: a megabyte of what nearly matches is one pass."""
    for piece in (b"token", b"password ", b"token='", b"://a", b"bearer  "):
        assert last_line(piece * (1_000_000 // len(piece)), b"", ())


def test_ordinary_words_stay() -> None:
    """Addresses, paths and reasons are what a person needs."""
    line = "GET https://vault.corp.example:8200/v1/secret/data/claude: permission denied (403)"
    assert last_line(line.encode(), b"", ()) == line


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_whatever_is_said_one_short_printable_line_is_shown(stderr: bytes, stdout: bytes) -> None:
    """It goes into errors that promise to be one line."""
    shown = last_line(stderr, stdout, ("fake-known",))
    assert len(shown) <= LENGTH_MAX
    assert shown.isprintable()


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4), st.text(), st.text())
def test_a_known_secret_is_never_shown(secret: str, before: str, after: str) -> None:
    """Wherever it stands in the line."""
    shown = last_line(f"{before} <<{secret}>> {after}".encode(errors="replace"), b"", (f"<<{secret}>>",))
    assert f"<<{secret}>>" not in shown
