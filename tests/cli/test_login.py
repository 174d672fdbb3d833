"""`broker login` and `logout`: what a person sees, and what comes of it (tests/real/test_vault_login.py has a server)."""

from __future__ import annotations

import json
import os
import queue
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from broker.cli import login
from broker.cli.redirect import Redirect, listening
from broker.sign_in import Page
from tests.cli.conftest import Type
from tests.fakes.control import Script

URL = "https://login.example/authorize?state=fake-state"


DEVICE_URL = "https://login.example/device"
PAGE = {"host": "localhost", "port": 8250, "path": "/oidc/callback"}


@pytest.fixture(autouse=True)
def _browser_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the browser back at once, on a Linux machine without a screen."""

    @contextmanager
    def listening(page: Page) -> Iterator[Redirect]:
        yield _Back(page)

    monkeypatch.setattr(login, "listening", listening)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)


ISSUER = "https://login.example"


class _Back(Redirect):
    port = 8250

    def __init__(self, page: Page) -> None:
        """Listen nowhere."""
        self.page = page

    @property
    def uri(self) -> str:
        return f"http://{self.page.host}:8250{self.page.path}"

    def code(self, state: str, within_s: float, issuer: str | None = None) -> str:
        assert (state, within_s, issuer) == ("fake-state", 300, ISSUER)
        return "fake-code"


@pytest.fixture
def daemon(control: Script) -> Script:
    """A daemon that knows where to sign in, and keeps what comes of it."""
    by_browser = {"name": "corp", "type": "vault", "page": PAGE, "device": False}
    by_device = {"name": "team", "type": "oauth", "page": None, "device": True}
    either = {"name": "sso", "type": "aws", "page": PAGE, "device": True}
    control.raw["/v1/logins"] = json.dumps({"sources": [by_browser, by_device, either]}).encode()
    invite(control, url=URL)
    control.raw["/v1/login/finish"] = control.raw["/v1/login/wait"] = b'{"kept": true}'
    control.raw["/v1/logout"] = b'{"signed_out": true}'
    return control


def invite(control: Script, **told: str | float) -> None:
    """Have the daemon tell what the person is to do."""
    invitation = {"state": "fake-state", "expires_in_s": 300.0, "interval_s": 5.0, "joined": False, "issuer": ISSUER}
    control.raw["/v1/login"] = json.dumps(invitation | told).encode()


def test_the_address_is_shown_and_the_answer_handed_over(daemon: Script, type_: Type) -> None:
    """What to do stands on stderr, what came of it on stdout; the code on neither."""
    said = type_("login corp")
    assert (said.code, said.out) == (0, "signed in to corp\n")
    assert f"\n  {URL}\n" in said.err
    assert "fake-code" not in said.err
    redirect = '"redirect_uri": "http://localhost:8250/oidc/callback"'
    assert daemon.asks[1:] == [
        f'POST /v1/login {{"source": "corp", {redirect}}}',
        'POST /v1/login/finish {"source": "corp", "state": "fake-state", "code": "fake-code"}',
    ]


@pytest.mark.parametrize("line", ["login team", "login sso", "login sso --device"])
def test_a_code_is_shown_and_waited_for(daemon: Script, type_: Type, line: str) -> None:
    """Where the source knows nothing else, this machine has no browser, or it is asked for."""
    invite(daemon, url=DEVICE_URL, user_code="FAKE-CODE")
    source = line.split()[1]
    said = type_(line)
    assert (said.code, said.out) == (0, f"signed in to {source}\n")
    assert f"\n  {DEVICE_URL}\n\nand enter this code:\n\n  FAKE-CODE\n" in said.err
    assert "for 5m (Ctrl-C ends it)" in said.err
    assert daemon.asks[1:] == [
        f'POST /v1/login {{"source": "{source}"}}',
        f'POST /v1/login/wait {{"source": "{source}", "state": "fake-state"}}',
    ]


def test_with_a_browser_at_hand_it_is_taken(daemon: Script, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the source that knows both ways; --device is the other, and opens the address that has the code in it."""
    opened: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(webbrowser, "open", opened.put)
    monkeypatch.setenv("DISPLAY", "x")
    assert type_("login sso").code == 0
    assert opened.get(timeout=5) == URL
    filled = f"{DEVICE_URL}?code=FAKE-CODE"
    invite(daemon, url=DEVICE_URL, complete_url=filled, user_code="FAKE-CODE")
    said = type_("login sso --device")
    assert opened.get(timeout=5) == filled
    assert f"\n  {filled}\n\nand check that it shows this code:\n\n  FAKE-CODE\n" in said.err


@pytest.mark.parametrize("line", ["login corp", "login team"])
def test_a_sign_in_that_is_under_way_is_joined(
    daemon: Script, type_: Type, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """Twenty commands open one tab."""
    monkeypatch.setattr(webbrowser, "open", lambda _url: pytest.fail("opened"))
    monkeypatch.setenv("DISPLAY", "x")
    invite(daemon, url=URL, joined=True, **({"user_code": "FAKE-CODE"} if "team" in line else {}))
    said = type_(line)
    assert (said.code, said.out) == (0, f"signed in to {line.split()[1]}\n")
    assert "under way already; waiting for it" in said.err
    assert ("FAKE-CODE" in said.err) == ("team" in line)
    assert daemon.asks[-1].startswith("POST /v1/login/wait ")


def test_without_a_source_those_are_listed_that_a_person_signs_in_to(daemon: Script, type_: Type) -> None:
    """With their types, and the ways."""
    assert type_("login").out == "corp  vault\nsso   aws, also --device\nteam  oauth\n"
    daemon.raw["/v1/logins"] = b'{"sources": []}'
    said = type_("login")
    assert (said.code, said.out, said.err) == (0, "", "no source of the config is one that a person signs in to\n")


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("logins", b'{"sources": [{"name": "corp"}]}'),
        ("logins", b'{"sources": [{"name": "corp", "type": "x", "page": {"port": 1, "x": 1}, "device": true}]}'),
        ("login", b'{"joined": true}'),
    ],
)
def test_an_answer_of_another_version_is_told_in_one_line(
    daemon: Script, type_: Type, call: str, answer: bytes
) -> None:
    """With what mends it."""
    daemon.raw[f"/v1/{call}"] = answer
    said = type_("login corp")
    assert (said.code, said.out) == (69, "")
    assert said.err.endswith("is it of this version? run: broker restart\n")


# --- on a machine without a browser -----------------------------------------------------------------------------


@pytest.fixture
def type_in() -> Iterator[Callable[[str], int]]:
    """Give a hand that types on the command's stdin."""
    reader, writer = os.pipe()
    kept = os.dup(0)
    os.dup2(reader, 0)
    yield lambda text: os.write(writer, text.encode())
    os.dup2(kept, 0)
    for descriptor in (reader, writer, kept):
        os.close(descriptor)


def test_without_stdin_the_page_is_all_that_is_waited_for(daemon: Script, type_: Type) -> None:
    """A service's, or one that cannot be read, ends nothing."""
    kept, mute = os.dup(0), os.open(os.devnull, os.O_WRONLY)
    os.dup2(mute, 0)  # closed, the number would be the next connection's here, and that be read from
    try:
        assert type_("login corp").code == 0
    finally:
        os.dup2(kept, 0)
        for descriptor in (kept, mute):
            os.close(descriptor)


def test_the_address_that_a_browser_elsewhere_ended_at_can_be_pasted(
    daemon: Script, type_: Type, monkeypatch: pytest.MonkeyPatch, type_in: Callable[[str], int]
) -> None:
    """From stdin, never as an argument; nonsense, and the answer to another sign-in, are told off and do no harm."""
    monkeypatch.setattr(login, "listening", listening)
    type_in("nonsense?\nhttp://localhost:8250/?state=other&code=x\n\n")
    type_in(f"http://localhost:8250/oidc/callback?state=fake-state&code=fake-pasted-code&iss={ISSUER}\n")
    said = type_("login corp --no-browser")
    assert (said.code, said.out) == (0, "signed in to corp\n")
    assert said.err.count("paste the whole address") == 2
    assert '"code": "fake-pasted-code"' in daemon.asks[-1]
    assert "fake-pasted-code" not in said.err


def test_a_sign_in_that_is_not_kept_warns(daemon: Script, type_: Type) -> None:
    """It lasts as long as the daemon."""
    daemon.raw["/v1/login/finish"] = b'{"kept": false}'
    said = type_("login corp")
    assert (said.code, said.out) == (0, "signed in to corp\n")
    assert "(see: broker doctor), so this lasts until the daemon stops or is locked" in said.err


def test_a_refusal_is_one_line(daemon: Script, type_: Type) -> None:
    """With the daemon's code."""
    daemon.errors["/v1/login"] = (400, "bad-request", "nobody signs in to source corp by hand")
    said = type_("login corp")
    assert (said.code, said.out, said.err) == (64, "", "broker: nobody signs in to source corp by hand\n")


def test_signing_out_says_whether_there_was_anything(daemon: Script, type_: Type) -> None:
    """Both are fine."""
    assert type_("logout corp").out == "signed out of corp\n"
    daemon.raw["/v1/logout"] = b'{"signed_out": false}'
    said = type_("logout corp")
    assert (said.code, said.out) == (0, "nobody was signed in to corp\n")


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"])
def test_the_browser_is_opened_where_there_is_one(
    daemon: Script, type_: Type, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """At the address, unless that is not wanted."""
    opened: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(webbrowser, "open", opened.put)
    monkeypatch.setenv(variable, "x")
    assert type_("login corp --no-browser").code == 0
    assert type_("login corp").code == 0
    assert opened.get(timeout=5) == URL
    assert opened.empty()
    assert len(daemon.asks) == 6


@pytest.mark.usefixtures("daemon")
def test_without_a_screen_no_browser_takes_the_terminal(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would start one in text mode."""
    monkeypatch.setattr(webbrowser, "open", lambda _url: pytest.fail("opened"))
    assert type_("login corp").code == 0
