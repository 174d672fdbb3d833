"""`broker login` and `logout`: what a person sees, and what comes of it (tests/real/test_vault_login.py has a server)."""

from __future__ import annotations

import json
import queue
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from broker.cli import login
from broker.cli.redirect import Redirect
from tests.cli.conftest import Type
from tests.fakes.control import Script

URL = "https://login.example/authorize?state=fake-state"


@pytest.fixture(autouse=True)
def _browser_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the browser back at once, on a machine without a screen."""

    @contextmanager
    def listening() -> Iterator[Redirect]:
        yield _Back()

    monkeypatch.setattr(login, "listening", listening)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)


class _Back(Redirect):
    port = 8250

    def __init__(self) -> None:
        """Listen nowhere."""

    def code(self, state: str, within_s: float) -> str:
        assert (state, within_s) == ("fake-state", 300)
        return "fake-code"


@pytest.fixture
def daemon(control: Script) -> Script:
    """A daemon that knows where to sign in, and keeps what comes of it."""
    control.raw["/v1/login"] = json.dumps({"url": URL, "state": "fake-state"}).encode()
    control.raw["/v1/login/finish"] = b'{"kept": true}'
    control.raw["/v1/logout"] = b'{"signed_out": true}'
    return control


def test_the_address_is_shown_and_the_answer_handed_over(daemon: Script, type_: Type) -> None:
    """What to do stands on stderr, what came of it on stdout; the code on neither."""
    said = type_("login corp")
    assert (said.code, said.out) == (0, "signed in to corp\n")
    assert f"\n  {URL}\n" in said.err
    assert "fake-code" not in said.err
    redirect = '"redirect_uri": "http://localhost:8250/oidc/callback"'
    assert daemon.asks == [
        f'POST /v1/login {{"source": "corp", {redirect}}}',
        'POST /v1/login/finish {"source": "corp", "state": "fake-state", "code": "fake-code"}',
    ]


def test_a_sign_in_that_is_not_kept_warns(daemon: Script, type_: Type) -> None:
    """It lasts as long as the daemon."""
    daemon.raw["/v1/login/finish"] = b'{"kept": false}'
    said = type_("login corp")
    assert (said.code, said.out) == (0, "signed in to corp\n")
    assert "so this lasts until the daemon stops or is locked" in said.err


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
    assert len(daemon.asks) == 4


@pytest.mark.usefixtures("daemon")
def test_without_a_screen_no_browser_takes_the_terminal(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would start one in text mode."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(webbrowser, "open", lambda _url: pytest.fail("opened"))
    assert type_("login corp").code == 0
