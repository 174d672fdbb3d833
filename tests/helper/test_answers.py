"""What the daemon answers, rightly, wrongly or with bad intent."""

from __future__ import annotations

import re

import pytest

from tests.helper.harness import TOKEN, Place, Turn, ok, refusal, reset, serving

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n"


@pytest.mark.parametrize("size", [1, 12, 16384])
def test_any_printable_word_up_to_the_limit_is_a_token(place: Place, size: int) -> None:
    """Claude Code takes up to 16384 printable ASCII characters."""
    token = (bytes(range(0x21, 0x7F)) * 200)[:size]
    with serving(place.socket, ok(token)):
        said = place.run()
    assert (said.code, said.out, said.err) == (0, token + b"\n", "")


GOOD = {
    "http/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "no reason phrase": b"HTTP/1.1 200\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "any case, any blanks": b"HTTP/1.1 200 OK\r\ncOnTeNt-LeNgTh: \t 12 \t\r\n\r\n" + TOKEN,
    "no blank": b"HTTP/1.1 200 OK\r\nContent-Length:12\r\n\r\n" + TOKEN,
    "head of 32 KiB": HEAD + b"X: " + b"x" * (32768 - len(HEAD) - 7) + b"\r\n\r\n" + TOKEN,
    "garbage after the body": HEAD + b"\r\n" + TOKEN + b"garbage\x00\xff",
    "another answer after the body": ok() + ok(b"fake-token-2"),
}


@pytest.mark.parametrize("answer", GOOD.values(), ids=GOOD)
def test_understands_every_spelling_of_a_good_answer(place: Place, answer: bytes) -> None:
    """HTTP leaves some freedom; what comes after the announced length is never printed."""
    with serving(place.socket, answer):
        said = place.run()
    assert (said.code, said.out, said.err) == (0, TOKEN + b"\n", "")


HOSTILE: dict[str, bytes] = {
    "truncated head": HEAD,
    "truncated in the status": b"HTTP/1.1 2",
    "one byte": b"H",
    "truncated body": HEAD + b"\r\n" + TOKEN[:-1],
    "no body": HEAD + b"\r\n",
    "empty token": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "token of 16385": ok(b"x" * 16385),
    "body of 1 MB": ok(b"x" * 1_000_000),
    "no length": b"HTTP/1.1 200 OK\r\n\r\n" + TOKEN,
    "no headers, no end": b"HTTP/1.1 200 OK\r\n",
    "head without end": HEAD + b"X: y\r\n" * 100_000,
    "one header of 1 MB": HEAD + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n" + TOKEN,
    "head of 32 KiB and 1": HEAD + b"X: " + b"x" * (32769 - len(HEAD) - 7) + b"\r\n\r\n" + TOKEN,
    "64 KiB of nothing": b"x" * 65536,
    "NUL in a header": HEAD + b"X: \x00\r\n\r\n" + TOKEN,
    "NUL before the length": b"HTTP/1.1 200 OK\r\n\x00\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "NUL in the status": b"HTTP/1.1 200\x00OK\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "NULs alone": b"\x00" * 100,
    "NUL in the token": ok(b"fake\x00token-1"),
    "lone CR": HEAD + b"X: a\rb\r\n\r\n" + TOKEN,
    "lone LF": b"HTTP/1.1 200 OK\nContent-Length: 12\n\n" + TOKEN,
    "smuggled by LF": HEAD + b"X: a\nContent-Length: 5\r\n\r\n" + TOKEN,
    "escape in a header": HEAD + b"X: \x1b[2J\r\n\r\n" + TOKEN,
    "DEL in a header": HEAD + b"X: \x7f\r\n\r\n" + TOKEN,
    "two lengths": HEAD + b"Content-Length: 5\r\n\r\n" + TOKEN,
    "the same length twice": HEAD + b"Content-Length: 12\r\n\r\n" + TOKEN,
    "length with sign": b"HTTP/1.1 200 OK\r\nContent-Length: +12\r\n\r\n" + TOKEN,
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + TOKEN,
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551628\r\n\r\n" + TOKEN,
    "hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0xc\r\n\r\n" + TOKEN,
    "empty length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n" + TOKEN,
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 12, 12\r\n\r\n" + TOKEN,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n" + TOKEN + b"\r\n0\r\n\r\n",
    "chunked with a length": HEAD + b"transfer-encoding: identity\r\n\r\n" + TOKEN,
    "header without colon": HEAD + b"nonsense\r\n\r\n" + TOKEN,
    "header without name": HEAD + b": nonsense\r\n\r\n" + TOKEN,
    "blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 12\r\n\r\n" + TOKEN,
    "folded header": b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n 3\r\n\r\n" + TOKEN,
    "HTTP/2": b"HTTP/2 200 OK\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "HTTP/1.x": b"HTTP/1.x 200 OK\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "HTTP/1.11": b"HTTP/1.11 200 OK\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "lower case": b"http/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "status of 4 digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "status of 2 digits": b"HTTP/1.1 20 OK\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "status of letters": b"HTTP/1.1 abc OK\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "status 000": b"HTTP/1.1 000 OK\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + ok(),
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\nContent-Length: 12\r\n\r\n" + TOKEN,
    "no HTTP": TOKEN + b"\n",
    "line ends alone": b"\r\n\r\n\r\n\r\n",
    "binary": bytes(range(256)) * 8,
    "blank in the token": ok(b"fake token-1"),
    "newline in the token": ok(b"fake-token\n1"),
    "newline after the token": ok(b"fake-token-\n"),
    "DEL in the token": ok(b"fake-token-\x7f"),
    "UTF-8 in the token": ok("fake-tökén".encode()),
    "header in the token": ok(b"x\r\nx-evil: 1"),
    "refusal without end": b"HTTP/1.1 503 No\r\n",
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
def test_a_broken_or_hostile_answer_prints_nothing(place: Place, answer: bytes) -> None:
    """Whatever is not exactly a token ends with 70, one printable line on stderr and an empty stdout."""
    with serving(place.socket, answer) as daemon:
        said = place.run()
    assert (said.code, said.out) == (70, b"")
    assert re.fullmatch(r"broker-helper: [ -~]+\n", said.err)
    assert len(daemon.requests) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 64), (401, 77), (403, 77), (404, 78), (423, 77), (500, 70), (503, 69), (504, 75), (418, 70), (502, 70)],
)
def test_a_refusal_gives_the_daemons_reason_and_its_exit_code(place: Place, status: int, code: int) -> None:
    """The user sees the daemon's own line, and scripts the promised code."""
    with serving(place.socket, refusal(status, b"credential work: run: broker login corp\nsecond line")):
        said = place.run()
    assert (said.code, said.out) == (code, b"")
    assert said.err == "broker-helper: credential work: run: broker login corp\n"


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        (b"\x1b[2Jgone\x07\xff", "?[2Jgone??"),
        ("Schlüssel für Größe läuft ab: 鍵 🔑".encode(), "Schlüssel für Größe läuft ab: 鍵 🔑"),
        (b"x" * 60_000, "x" * 500),
        (b"x" * 499 + "é".encode(), "x" * 499 + "?"),
        (b"%s%n%d", "%s%n%d"),
        (b"", "the daemon answered 503 without a reason; see: broker status"),
        (b"\r\nx", "the daemon answered 503 without a reason; see: broker status"),
    ],
    ids=["escapes", "UTF-8", "long", "cut within a character", "format", "none", "empty first line"],
)
def test_a_reason_is_shown_as_one_short_printable_line(place: Place, reason: bytes, shown: str) -> None:
    """No answer can write to the terminal more than text, nor flood it."""
    with serving(place.socket, refusal(503, reason)):
        said = place.run()
    assert (said.code, said.out, said.err) == (69, b"", f"broker-helper: {shown}\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 No\r\n\r\nno luck",
        b"HTTP/1.1 503 No\r\nContent-Length: 900\r\n\r\nno luck",
        b"HTTP/1.1 503 No\r\nContent-Length: 7\r\n\r\nno luckier",
        b"HTTP/1.1 503 No\r\nContent-Length: 9999999\r\n\r\nno luck\n" + b"x" * 200_000,
    ],
    ids=["no length", "cut short", "longer", "endless"],
)
def test_a_refusal_needs_no_exact_length(place: Place, answer: bytes) -> None:
    """A reason is worth showing even when its frame is not perfect."""
    with serving(place.socket, answer):
        said = place.run()
    assert (said.code, said.out, said.err) == (69, b"", "broker-helper: no luck\n")


@pytest.mark.parametrize("nothing", [b"", reset], ids=["end", "reset"])
def test_a_connection_that_closes_without_an_answer_is_tried_once_more(place: Place, nothing: Turn) -> None:
    """A daemon that drains or was killed is invisible when its successor answers."""
    with serving(place.socket, nothing, ok()) as daemon:
        said = place.run()
    assert (said.code, said.out, said.err) == (0, TOKEN + b"\n", "")
    assert len(daemon.requests) == 2


def test_it_is_tried_exactly_once_more(place: Place) -> None:
    """A daemon that crashes on every ask is not hammered."""
    with serving(place.socket, b"", b"", ok()) as daemon:
        said = place.run()
    assert (said.code, said.out) == (69, b"")
    assert "broker status" in said.err
    assert len(daemon.requests) == 2


def test_a_try_that_a_dying_daemon_took_along_does_not_count(place: Place) -> None:
    """A daemon that is killed ends the connection it answers on a moment before the socket at which the next one waits."""
    with serving(place.socket, b"", reset, ok()) as daemon:
        said = place.run()
    assert (said.code, said.out, said.err) == (0, TOKEN + b"\n", "")
    assert len(daemon.requests) == 3


def test_a_socket_that_takes_nobody_is_given_up(place: Place) -> None:
    """After three tries, whatever else it would do."""
    with serving(place.socket, reset) as daemon:
        said = place.run()
    assert (said.code, said.out) == (69, b"")
    assert "broker status" in said.err
    assert len(daemon.requests) == 3
