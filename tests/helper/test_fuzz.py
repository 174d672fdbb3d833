"""Thousands of answers that no daemon of ours would give, against a second reading of the rules."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helper.harness import Daemon, Place, Said, ok, refusal, serving
from tests.helper.test_answers import GOOD, HOSTILE

CORPUS: Final = [*GOOD.values(), *HOSTILE.values(), ok(), ok(b"x" * 16384), refusal(503, b"no luck"), refusal(401, b"")]
SMALL: Final = [answer for answer in CORPUS if len(answer) < 5000]

_TEXT: Final = rb"[^\x00-\x08\x0a-\x1f\x7f]*"
_HEADER: Final = rb"[^\x00-\x20\x7f:]+:" + _TEXT + rb"\r\n"
_ANSWER: Final = re.compile(rb"HTTP/1\.[0-9] 200(?: " + _TEXT + rb")?\r\n((?:" + _HEADER + rb")*)\r\n(.*)", re.DOTALL)


def token_in(answer: bytes) -> bytes | None:
    """Say by the contract which token, if any, may be printed for `answer`."""
    found = _ANSWER.fullmatch(answer)
    if not found or found.start(2) > 32 * 1024:
        return None
    headers = [line.partition(b":") for line in found[1].split(b"\r\n")[:-1]]
    lengths = [value.strip(b" \t") for name, _, value in headers if name.lower() == b"content-length"]
    if any(name.lower() == b"transfer-encoding" for name, _, _ in headers) or len(lengths) != 1:
        return None
    if not re.fullmatch(rb"[0-9]{1,7}", lengths[0]):
        return None
    token = found[2][: int(lengths[0])]
    complete = len(token) == int(lengths[0]) <= 16384
    return token if complete and re.fullmatch(rb"[\x21-\x7e]+", token) else None


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Take an answer of the corpus and damage it: cut, repeat, insert, overwrite."""
    answer = draw(st.sampled_from(SMALL))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(answer)))
        end = min(len(answer), start + draw(st.integers(0, 12)))
        piece = draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([b"\r\n", b"\0", b":", b" ", b"0", answer[start:end] * 2]))
        )
        answer = answer[:start] + piece + answer[end:]
    return answer[: draw(st.one_of(st.just(len(answer)), st.integers(0, len(answer))))]


@st.composite
def assembled(draw: st.DrawFn) -> bytes:
    """Put an answer together from right and nearly right parts."""
    status = draw(
        st.sampled_from(
            [b"HTTP/1.1 200 OK", b"HTTP/1.0 200", b"HTTP/1.1 503 No", b"HTTP/1.1  200 OK", b"HTTP/1.1 200OK"]
        )
    )
    body = draw(st.one_of(st.from_regex(rb"[!-~]{1,40}", fullmatch=True), st.binary(max_size=40)))
    length = b"Content-Length: %d" % (len(body) + draw(st.sampled_from([0, 0, 0, 0, 1, -1])))
    other = st.sampled_from([b"X: y", b"X:", b"X", b":", b" X: y", b"Transfer-Encoding: chunked", b"X: \t\xff", length])
    headers = [*draw(st.lists(other, max_size=2)), length]
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]))
    return end.join([status, *headers, b""]) + end + body


REASONS: Final = st.one_of(st.text(max_size=40).map(str.encode), st.binary(max_size=40)).map(
    lambda reason: refusal(503, reason)
)


def is_shown_safely(line: str) -> bool:
    """Whether nothing in a line of stderr commands the terminal, ends the line, or turns it round."""
    return line.startswith("broker-helper: ") and all(
        unicodedata.category(char) not in {"Cc", "Cs", "Co", "Zl", "Zp"}
        and unicodedata.bidirectional(char) not in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        for char in line
    )


def check(answer: bytes, said: Said) -> bool:
    """Compare one run with the rules; return whether a token was printed."""
    token = token_in(answer)
    if token is not None:
        assert (said.code, said.out, said.err) == (0, token + b"\n", "")
        return True
    assert said.out == b""
    assert said.code in {64, 69, 70, 75, 77, 78}
    assert said.err.endswith("\n")
    assert is_shown_safely(said.err[:-1])
    return False


def fuzz(place: Place, examples: int) -> None:
    """Run the helper on so many answers; both outcomes must have occurred."""
    outcomes = set()

    with serving(place.socket, b"") as daemon:

        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.one_of(mutated(), assembled(), REASONS, st.binary(max_size=300)))
        def run(answer: bytes) -> None:
            outcomes.add(check(answer, ask(place, daemon, answer)))

        run()
    assert outcomes == {True, False}


def ask(place: Place, daemon: Daemon, answer: bytes) -> Said:
    """Run the helper once on `answer`."""
    daemon.turns = [answer]
    daemon.requests.clear()
    return place.run()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "examples"), [("native", 1500), ("sanitized", 500), ("python", 400)])
def test_no_answer_gets_more_than_its_token_through(install: Callable[[str], Place], kind: str, examples: int) -> None:
    """Whatever bytes arrive: exactly the token of a right answer is printed, else nothing, and nothing crashes."""
    fuzz(install(kind), examples)


@pytest.mark.slow
def test_the_twins_say_the_same(install: Callable[[str], Place]) -> None:
    """Code, stdout and stderr are the same from both, so that nobody need know which one is installed."""
    native, python = install("native"), install("python")
    with serving(native.socket, b"") as one, serving(python.socket, b"") as other:

        @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.one_of(mutated(), assembled(), REASONS))
        def run(answer: bytes) -> None:
            here, there = ask(native, one, answer), ask(python, other, answer)
            assert (here.code, here.out, here.err) == (there.code, there.out, there.err)

        run()


@pytest.mark.parametrize("answer", CORPUS)
def test_the_rules_read_twice_agree_on_the_corpus(answer: bytes) -> None:
    """The fuzzing's second reading knows the good answers from the hostile ones."""
    assert (token_in(answer) is not None) == (answer in [*GOOD.values(), ok(), ok(b"x" * 16384)])
