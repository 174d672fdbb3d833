"""The page that the browser comes back to: whom it believes, and that nobody can hold it up."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from broker.cli.redirect import Redirect, listening
from broker.errors import NeedsLogin
from broker.sign_in import Page

PATH = "/oidc/callback"
PAGE = Page("localhost", 0, PATH)
GOOD = f"{PATH}?state=fake-state&code=fake-code"
SOON_S = 5.0


@pytest.fixture
def page() -> Iterator[Redirect]:
    """Give one on a free port."""
    with listening(PAGE) as made:
        yield made


def visit(page: Redirect, target: str = GOOD, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    """Open it; return status, body and the headers' text."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=SOON_S)
    try:
        connection.request(method, target, headers={"Host": f"localhost:{page.port}", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), str(answer.headers)
    finally:
        connection.close()


def test_the_code_arrives_and_the_page_does_not_show_it(page: Redirect) -> None:
    """Nor lets anything else be loaded, or be kept."""
    status, body, headers = visit(page)
    assert page.code("fake-state", SOON_S) == "fake-code"
    assert status == 200
    assert "fake" not in body + headers
    assert "no-store" in headers
    assert "default-src 'none'" in headers
    assert "Python" not in headers
    assert page.uri == f"http://localhost:{page.port}{PATH}"


def test_the_address_by_number_is_the_same_page(page: Redirect) -> None:
    """Some roles allow only that."""
    assert visit(page, Host=f"127.0.0.1:{page.port}")[0] == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/", 404),
        ("/favicon.ico", 404),
        (f"{PATH}/x?state=a&code=b", 404),
        (PATH, 400),
        (f"{PATH}?state=fake-state", 400),
        (f"{PATH}?code=fake-code", 400),
        (f"{PATH}?state=fake-state&code=a&code=b", 400),
        (f"{PATH}?state=fake-state&code=" + "b" * 20_000, 404),
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(page: Redirect, target: str, status: int) -> None:
    """The real one counts after it."""
    assert visit(page, target)[0] == status
    visit(page)
    assert page.code("fake-state", SOON_S) == "fake-code"


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS"])
def test_only_reading_is_answered(page: Redirect, method: str) -> None:
    """A browser that is sent here by a provider does nothing else."""
    assert visit(page, method=method)[0] == 501


@pytest.mark.parametrize("host", ["evil.example", "localhost", "localhost:1", "evil.example:{port}", ""])
def test_another_name_for_this_page_is_refused(page: Redirect, host: str) -> None:
    """A page elsewhere whose name was made to lead here could read the answers otherwise (DNS rebinding)."""
    assert visit(page, Host=host.format(port=page.port))[0] == 400


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_scripts_of_other_pages_are_refused(page: Redirect, origin: str) -> None:
    """They send where they come from."""
    assert visit(page, Origin=origin)[0] == 403


def test_an_answer_of_somebody_elses_sign_in_is_passed_over(page: Redirect) -> None:
    """Otherwise any page could end ours, or have us act as somebody else."""
    visit(page, f"{PATH}?state=other&code=their-code")
    visit(page, f"{PATH}?state=other&error=access_denied")
    visit(page)
    assert page.code("fake-state", SOON_S) == "fake-code"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("error=access_denied", "refused: access_denied"),
        ("error=access_denied&error_description=not%1B%5B2Jyou", "refused: not\ufffd[2Jyou"),
        ("error=" + "x" * 1000, "refused: x{200}$"),
    ],
)
def test_a_refusal_is_told_in_the_providers_words(page: Redirect, query: str, says: str) -> None:
    """Few of them, and none that steer the terminal."""
    visit(page, f"{PATH}?state=fake-state&{query}")
    with pytest.raises(NeedsLogin, match=says.replace("[2J", r"\[2J")):
        page.code("fake-state", SOON_S)


def test_nobody_is_waited_for_without_end(page: Redirect) -> None:
    """It says how long it was."""
    with pytest.raises(NeedsLogin, match=r"nobody signed in within 0\.001 minutes"):
        page.code("fake-state", 0.06)


def test_a_flood_of_false_answers_fills_no_memory(page: Redirect) -> None:
    """More than a few are turned away until they are looked at."""
    statuses = [visit(page, f"{PATH}?state=other&code=x")[0] for _ in range(17)]
    assert statuses == [200] * 16 + [503]


def test_a_connection_that_says_nothing_holds_up_nobody(page: Redirect) -> None:
    """Browsers open such in advance; and some programs send nonsense."""
    with (
        socket.create_connection(("127.0.0.1", page.port)) as silent,
        socket.create_connection(("127.0.0.1", page.port)) as broken,
    ):
        broken.sendall(b"GET http://[ HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % page.port)
        assert visit(page)[0] == 200
        assert page.code("fake-state", SOON_S) == "fake-code"
        assert silent.fileno() >= 0


def test_a_port_that_is_taken_is_left_alone() -> None:
    """Another free one serves: servers allow any port of the loopback (RFC 8252)."""
    with listening(PAGE) as first, listening(replace(PAGE, port=first.port)) as second:
        assert second.port != first.port
        assert visit(second)[0] == 200


def test_only_this_machine_can_come_here(page: Redirect) -> None:
    """It listens on the loopback alone."""
    assert page._server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("http://localhost:8250/oidc/callback?state=fake-state&code=fake-code", True),
        ("localhost:8250/oidc/callback?code=fake-code&state=fake-state&scope=x", True),
        ("4/0A-fake-code", True),
        ("http://localhost:8250/oidc/callback?state=other&code=fake-code", False),
        ("http://localhost:8250/oidc/callback?code=fake-code", False),
        ("http://[", False),
        ("?" + "&".join("abcdefghijklmnopqrstuvwxyz") * 3, False),
        ("two words", False),
        ("short", False),
        ("", False),
    ],
)
def test_what_a_person_pastes_counts_if_it_is_the_answer(page: Redirect, text: str, *, taken: bool) -> None:
    """The whole address that a browser elsewhere ended at, or the code alone; not what belongs to another sign-in."""
    assert page.paste(text, "fake-state") == taken
    if taken:
        assert page.code("fake-state", SOON_S) in text


ISSUER = "https://login.example"


def test_an_answer_of_another_provider_goes_nowhere(page: Redirect) -> None:
    """Where the provider says that its answers name it: else a hostile one could be sent the code of an honest one."""
    for more, whose in (
        ("", "nobody"),
        ("&iss=https://evil.example", "https://evil.example"),
        (f"&iss={ISSUER}/", ISSUER),
    ):
        visit(page, GOOD + more)
        with pytest.raises(NeedsLogin, match=f"is of {whose}.*, not of {ISSUER}; its code was sent nowhere"):
            page.code("fake-state", SOON_S, ISSUER)
    visit(page, f"{GOOD}&iss={ISSUER}")
    assert page.code("fake-state", SOON_S, ISSUER) == "fake-code"


def test_a_bare_code_cannot_say_whose_it_is(page: Redirect) -> None:
    """Then the whole address is to be pasted."""
    address = f"http://localhost:8250{GOOD}&iss={ISSUER}"
    assert not page.paste("4/0A-fake-code", "fake-state", ISSUER)
    assert page.paste(address, "fake-state", ISSUER)
    assert page.code("fake-state", SOON_S, ISSUER) == "fake-code"


def test_pasting_over_and_over_fills_no_memory(page: Redirect) -> None:
    """What is more than a few is dropped."""
    assert all(page.paste("fake-code", "fake-state") for _ in range(20))
    assert page.code("fake-state", SOON_S) == "fake-code"
