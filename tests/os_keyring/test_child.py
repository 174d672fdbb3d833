"""What the child process makes of the keyring libraries that it may find."""

from __future__ import annotations

import io
import json
import signal
import sys
from types import SimpleNamespace
from typing import Any

import keyring
import pytest
from keyring import errors
from keyring.backends import SecretService, fail, null

from broker import platform
from broker.os_keyring import child


class Backend:
    """One keyring in memory; an error instead while it is set."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}
        self.error: Exception | None = None

    def get_password(self, service: str, username: str) -> str | None:
        """Read."""
        if self.error is not None:
            raise self.error
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, value: str) -> None:
        """Write."""
        if self.error is not None:
            raise self.error
        self.entries[service, username] = value


class PlaintextKeyring(Backend):
    """As keyrings.alt has it."""


PlaintextKeyring.__module__ = "keyrings.alt.file"


def use(monkeypatch: pytest.MonkeyPatch, backend: object) -> None:
    """Let the library choose this backend, as its settings can."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "fake.Backend")
    monkeypatch.setattr(keyring.core, "_keyring_backend", backend)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Give an empty keyring."""
    made = Backend()
    use(monkeypatch, made)
    return made


def respond(*requests: list[str], only_protected: bool = True) -> dict[str, Any]:
    """Ask it."""
    return child.respond(list(requests), only_protected=only_protected)


@pytest.mark.usefixtures("backend")
def test_an_entry_is_read_written_and_added_once() -> None:
    """`add` leaves what is there: a key that exists is never replaced."""
    assert respond(["get", "service", "me"]) == {"values": [None]}
    assert respond(["add", "service", "me", "fake-1"], ["add", "service", "me", "fake-2"]) == {"values": ["fake-1"] * 2}
    assert respond(["set", "service", "me", "fake-3"], ["get", "service", "me"]) == {"values": ["fake-3"] * 2}


def test_a_quicker_daemon_wins(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that make the key at the same time end with the same one."""
    write = backend.set_password

    def is_overtaken(service: str, username: str, _value: str) -> None:
        write(service, username, "fake-of-the-other")

    monkeypatch.setattr(backend, "set_password", is_overtaken)
    assert respond(["add", "service", "me", "fake-ours"]) == {"values": ["fake-of-the-other"]}


def test_a_locked_keyring_is_said_to_be_locked(backend: Backend) -> None:
    """Not broken."""
    backend.error = errors.KeyringLocked("fake")
    assert respond(["get", "service", "me"]) == {"trouble": "locked"}


def test_of_any_other_error_only_the_type_is_told(backend: Backend) -> None:
    """What a backend writes into its message may be anything."""
    backend.error = RuntimeError("fake-token-1")
    assert respond(["get", "service", "me"]) == {"trouble": "failed", "what": "RuntimeError"}


def test_a_missing_library_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever strips an installation reads what is missing."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert respond(["get", "service", "me"], only_protected=False) == {"trouble": "missing"}


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        (fail.Keyring(), {"trouble": "none"}),  # type: ignore[no-untyped-call]  # as the library has it
        (null.Keyring(), {"trouble": "unprotected", "what": "keyring.backends.null"}),  # type: ignore[no-untyped-call]  # see above
        (PlaintextKeyring(), {"trouble": "unprotected", "what": "keyrings.alt.file"}),
    ],
    ids=["fail", "null", "plaintext"],
)
def test_what_protects_nothing_is_no_home_for_a_key(
    found: object, answer: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key in a file beside the data is theatre."""
    use(monkeypatch, found)
    assert respond(["add", "service", "me", "fake-1"]) == answer


def test_of_a_chain_the_first_that_protects_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never the one behind it."""
    good = Backend()
    use(monkeypatch, SimpleNamespace(backends=[PlaintextKeyring(), good]))
    assert respond(["add", "service", "me", "fake-1"]) == {"values": ["fake-1"]}
    assert good.entries


def test_a_chain_of_nothing_is_no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would forget what it is given, without a word."""
    use(monkeypatch, SimpleNamespace(backends=[]))
    assert respond(["add", "service", "me", "fake-1"]) == {"trouble": "none"}


def test_a_persons_own_entry_may_lie_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they keep it is their decision; only our key needs protection."""
    plain = PlaintextKeyring()
    plain.entries["service", "me"] = "fake-token-1"
    use(monkeypatch, plain)
    assert respond(["get", "service", "me"], only_protected=False) == {"values": ["fake-token-1"]}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's usual keyring")
def test_the_usual_keyring_is_found_without_looking_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's start waits for it."""
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    monkeypatch.setattr(keyring, "get_keyring", lambda: "all of them")
    monkeypatch.setattr(SecretService, "Keyring", type("Keyring", (Backend,), {"priority": 5}))
    assert isinstance(child.protecting(), Backend)
    monkeypatch.setattr(SecretService.Keyring, "priority", 0)
    assert child.protecting() == "all of them"


def test_the_program_answers_what_it_is_asked(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON in, JSON out, its memory closed to others before the first secret is in it, and its end set."""
    hardened: list[bool] = []
    harden = SimpleNamespace(harden=lambda: hardened.append(not backend.entries))
    monkeypatch.setattr(platform, "current", lambda: harden)
    alarms: list[int] = []
    monkeypatch.setattr(signal, "alarm", alarms.append)
    request = {"requests": [["set", "service", "me", "fake-1"]], "only_protected": True, "timeout_s": 4.5}
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(request).encode())))
    child.main()
    assert json.loads(capsys.readouterr().out) == {"values": ["fake-1"]}
    assert hardened == [True]
    assert alarms == [6]
