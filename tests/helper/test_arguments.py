"""What the helper is told: its one argument and the environment."""

from __future__ import annotations

import re

import pytest

from broker.endpoints.control.helper_asks import understand
from tests.helper.harness import TOKEN, Daemon, Place, ok, refusal, serving


def asked(place: Place, *arguments: str | bytes, **env: str | None) -> tuple[str, Daemon]:
    """Run with a good daemon; return the request's first line."""
    with serving(place.socket, ok()) as daemon:
        said = place.run(*arguments, **env)
    assert (said.code, said.out) == (0, TOKEN + b"\n"), said.err
    return daemon.requests[0].decode().splitlines()[0], daemon


def test_prints_the_token_and_a_newline_and_nothing_else(place: Place) -> None:
    """What Claude Code reads is the token alone, and a good run is silent."""
    with serving(place.socket, ok()):
        said = place.run()
    assert (said.code, said.out, said.err) == (0, TOKEN + b"\n", "")


def test_asks_once_with_the_headers_promised(place: Place) -> None:
    """The request is the public one, so that any daemon of this project understands it."""
    _, daemon = asked(place, "work", CLAUDE_CODE_API_KEY_HELPER_TTL_MS="60000")
    assert len(daemon.requests) == 1
    shape = (
        rb"GET /v1/token\?credential=work&ttl_ms=60000&deadline_ms=\d+ HTTP/1\.1\r\n"
        rb"Host: broker\r\nConnection: close\r\nX-Broker-Cwd: /[-A-Za-z0-9._~/%]*\r\nX-Broker-Env: \r\n\r\n"
    )
    assert re.fullmatch(shape, daemon.requests[0])


@pytest.mark.parametrize("arguments", [(), ("work",), ("--aws", "cloud-1.eu_x~")])
def test_what_it_writes_is_answered_by_the_quick_way(place: Place, arguments: tuple[str, ...]) -> None:
    """The daemon knows a helper's ask by its exact form: were that to change in one place only, each ask would be slow."""
    _, daemon = asked(place, *arguments, ANTHROPIC_BASE_URL="http://127.0.0.1:4000/a?b=c&d", CLAUDE_CODE_USE_VERTEX="")
    ask = understand(daemon.requests[0])
    assert ask is not None
    assert ask["credential"] == (arguments[-1].encode() if arguments else None)
    assert b"ANTHROPIC_BASE_URL=" in ask["variables"]


def test_aws_prints_what_a_credential_process_does(place: Place) -> None:
    """The daemon's JSON as it came, asked for as a token is: with a deadline, and with what the guard needs."""
    keys = b'{"Version":1,"AccessKeyId":"fake-id-1","SecretAccessKey":"fake/secret+1","SessionToken":"fake=="}'
    with serving(place.socket, ok(keys)) as daemon:
        said = place.run("--aws", "cloud one", CLAUDE_CODE_USE_BEDROCK="1")
    assert (said.code, said.out, said.err) == (0, keys + b"\n", "")
    shape = rb"GET /v1/aws\?credential=cloud%20one&ttl_ms=\d+&deadline_ms=\d+ HTTP/1\.1\r\n(.*\r\n)*"
    assert re.fullmatch(shape, daemon.requests[0])
    assert b"\r\nX-Broker-Env: CLAUDE_CODE_USE_BEDROCK=1\r\n" in daemon.requests[0]


def test_aws_names_its_credential_itself(place: Place) -> None:
    """BROKER_CREDENTIAL is Claude Code's key: a profile of AWS's that forgot the name does not get that."""
    with serving(place.socket, ok()) as daemon:
        said = place.run("--aws", BROKER_CREDENTIAL="work")
    assert (said.code, said.out, daemon.requests) == (64, b"", [])


def test_aws_fails_as_the_plain_helper_does(place: Place) -> None:
    """With the same code, one line, and nothing on stdout that AWS's programs could take for keys."""
    with serving(place.socket, refusal(403, b"steered elsewhere\n")):
        said = place.run("--aws", "cloud")
    assert (said.code, said.out, said.err) == (77, b"", "broker-helper: steered elsewhere\n")


def test_without_a_name_the_daemon_chooses(place: Place) -> None:
    """No credential is named where none is given: the daemon knows its default."""
    line, _ = asked(place)
    assert "credential" not in line


def test_the_variable_names_the_credential(place: Place) -> None:
    """BROKER_CREDENTIAL serves where settings cannot pass an argument."""
    line, _ = asked(place, BROKER_CREDENTIAL="personal")
    assert "credential=personal&" in line


def test_the_argument_beats_the_variable(place: Place) -> None:
    """What is written beside the command wins."""
    line, _ = asked(place, "work", BROKER_CREDENTIAL="personal")
    assert "credential=work&" in line


def test_an_empty_variable_counts_as_unset(place: Place) -> None:
    """`BROKER_CREDENTIAL=` asks for the default."""
    line, _ = asked(place, BROKER_CREDENTIAL="")
    assert "credential" not in line


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        (b"a b&c=d", "a%20b%26c%3Dd"),
        (b"x\r\nHost: evil", "x%0D%0AHost%3A%20evil"),
        (b"\xc3\xa9\xff", "%C3%A9%FF"),
        (b"A-Z_0.9~", "A-Z_0.9~"),
    ],
)
def test_a_name_cannot_break_out_of_the_query(place: Place, name: bytes, encoded: str) -> None:
    """Whatever bytes a name has, it stays one value."""
    line, _ = asked(place, name)
    assert f"?credential={encoded}&ttl_ms" in line


def test_the_longest_name_is_sent_whole(place: Place) -> None:
    """256 bytes of name fit, even when each takes three."""
    line, _ = asked(place, b"\xff" * 256)
    assert "%FF" * 256 in line


@pytest.mark.parametrize(
    "arguments",
    [
        *[("-x",), ("--",), ("a", "b"), ("",), ("n" * 257,)],
        *[("--aws",), ("--aws", ""), ("--aws", "-x"), ("--aws", "a", "b"), ("--aws", "--help"), ("work", "--aws")],
        ("--aws", "n" * 257),
    ],
)
def test_unknown_arguments_are_usage_errors(place: Place, arguments: tuple[str, ...]) -> None:
    """A typo ends with 64 and one line, and never with somebody's token."""
    with serving(place.socket, ok()) as daemon:
        said = place.run(*arguments)
    assert (said.code, said.out, daemon.requests) == (64, b"", [])
    assert re.fullmatch(r"broker-helper: .*\n", said.err)


@pytest.mark.parametrize(("option", "expected"), [("--help", "usage: broker-helper"), ("--version", "broker-helper ")])
def test_help_and_version_leave_stdout_empty(place: Place, option: str, expected: str) -> None:
    """Whoever registers `broker-helper --version` by mistake hands no key to Claude Code."""
    said = place.run(option)
    assert (said.code, said.out) == (0, b"")
    assert said.err.startswith(expected)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("0", "0"),
        ("1", "1"),
        ("00060000", "60000"),
        ("999999999999", "999999999999"),
        ("1000000000001", "1000000000000"),
        ("18446744073709551617", "1000000000000"),
        ("9" * 5000, "1000000000000"),
        ("0" * 5000 + "7", "7"),
    ],
)
def test_any_whole_number_is_a_ttl(place: Place, value: str, sent: str) -> None:
    """However long the number: it saturates, and never wraps round to a short one."""
    with serving(place.socket, ok()) as daemon:
        said = place.run(CLAUDE_CODE_API_KEY_HELPER_TTL_MS=value)
    assert f"ttl_ms={sent}&".encode() in daemon.requests[0]
    assert said.err == ""


@pytest.mark.parametrize("value", ["", " 1", "1 ", "-1", "+1", "1.5", "1e3", "0x10", "5m", "\u0661"])
def test_what_is_no_number_counts_as_the_default_with_a_warning(place: Place, value: str) -> None:
    """A TTL that is not a whole number of ms counts as 300000, and stderr says so in one line."""
    with serving(place.socket, ok()) as daemon:
        said = place.run(CLAUDE_CODE_API_KEY_HELPER_TTL_MS=value)
    assert (said.code, said.out) == (0, TOKEN + b"\n")
    assert b"ttl_ms=300000&" in daemon.requests[0]
    assert re.fullmatch(r"broker-helper: CLAUDE_CODE_API_KEY_HELPER_TTL_MS .*300000\n", said.err)


def test_an_unset_ttl_is_the_default_without_a_warning(place: Place) -> None:
    """Nothing is wrong with saying nothing."""
    line, _ = asked(place)
    assert "ttl_ms=300000&" in line


@pytest.mark.parametrize("value", ["0", "", "-5", "soon"])
def test_a_bad_timeout_counts_as_the_default_with_a_warning(place: Place, value: str) -> None:
    """No deadline at all, or one of nothing, would hang Claude Code or fail it."""
    with serving(place.socket, ok()) as daemon:
        said = place.run(BROKER_TIMEOUT_MS=value)
    assert said.code == 0
    assert re.fullmatch(r"broker-helper: BROKER_TIMEOUT_MS .*9000\n", said.err)
    assert 8000 < deadline_of(daemon) < 9000


def test_the_daemon_gets_a_little_less_time_than_we_have(place: Place) -> None:
    """Its 504, which gives the reason, arrives before the helper gives up by itself."""
    _, daemon = asked(place, BROKER_TIMEOUT_MS="20000")
    assert 15000 < deadline_of(daemon) <= 19800


def test_a_huge_timeout_saturates(place: Place) -> None:
    """It waits as long as one likes, and does not overflow into failing at once."""
    _, daemon = asked(place, BROKER_TIMEOUT_MS="9" * 40)
    assert deadline_of(daemon) > 10**11


def deadline_of(daemon: Daemon) -> int:
    """Read the deadline out of the request."""
    found = re.search(rb"deadline_ms=(\d+)", daemon.requests[0])
    assert found is not None
    return int(found[1])
