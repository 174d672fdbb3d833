"""What can be relied on of the child process that asks the keyring: bounded, quiet, and clear when it fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker import os_keyring
from broker.os_keyring import KeyringFailed, KeyringLocked, KeyringTrouble, NoKeyring
from broker.secret import Secret

GET = os_keyring.get("fake service", "me")


class Child:
    """Stands in for `subprocess.run`: gives an answer, and remembers how it was started."""

    def __init__(self, stdout: bytes = b"", error: Exception | None = None) -> None:
        self.stdout = stdout
        self.error = error
        self.argv: list[str] = []
        self.given: dict[str, Any] = {}

    def __call__(self, argv: list[str], **given: Any) -> subprocess.CompletedProcess[bytes]:  # noqa: ANN401  # whatever is given
        """Stand in for it."""
        self.argv, self.given = argv, given
        if self.error is not None:
            raise self.error
        return subprocess.CompletedProcess(argv, 0, self.stdout)


def child(monkeypatch: pytest.MonkeyPatch, answer: object = None, error: Exception | None = None) -> Child:
    """Put it in the child's place."""
    made = Child(json.dumps(answer).encode(), error)
    monkeypatch.setattr(subprocess, "run", made)
    return made


def test_secrets_go_over_the_pipe_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody can read a command line, and every program of the user's an environment."""
    monkeypatch.setenv("FAKE_SECRET", "fake-token-2")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/fake")
    started = child(monkeypatch, {"values": ["fake-token-1"]})
    os_keyring.ask([os_keyring.put("fake service", "me", Secret("fake-token-1"))], 1)
    assert "fake-token-1" not in repr(started.argv)
    assert "fake-token" not in repr(started.given["env"])
    assert b"fake-token-1" in started.given["input"]
    assert started.given["env"]["DBUS_SESSION_BUS_ADDRESS"] == "unix:path=/fake"
    assert "FAKE_SECRET" not in started.given["env"]


def test_no_project_can_put_a_module_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a variable for Python nor by a file in the current folder."""
    monkeypatch.setenv("PYTHONPATH", "/fake")
    started = child(monkeypatch, {"values": [None]})
    os_keyring.ask([GET], 1)
    assert started.argv[:3] == [sys.executable, "-E", "-P"]
    assert "PYTHONPATH" not in started.given["env"]
    assert started.given["cwd"] == "/"


def test_each_request_has_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order; none where there is no entry."""
    child(monkeypatch, {"values": ["fake-token-1", None]})
    assert os_keyring.ask([GET, GET], 1) == [Secret("fake-token-1"), None]


@pytest.mark.parametrize(
    ("answer", "trouble", "said"),
    [
        ({"trouble": "none"}, NoKeyring, "install one"),
        ({"trouble": "unprotected", "what": "keyrings.alt.file"}, NoKeyring, "keyrings.alt.file"),
        ({"trouble": "locked"}, KeyringLocked, "unlock it"),
        ({"trouble": "missing"}, NoKeyring, "pip install"),
        ({"trouble": "failed", "what": "InitError"}, KeyringFailed, "InitError"),
        ({"values": []}, KeyringFailed, "keyring diagnose"),
        ([], KeyringFailed, "keyring diagnose"),
        (None, KeyringFailed, "keyring diagnose"),
    ],
)
def test_every_trouble_is_one_line_that_says_what_to_do(
    answer: object, trouble: type[KeyringTrouble], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the child makes of it."""
    child(monkeypatch, answer)
    with pytest.raises(trouble, match=said) as raised:
        os_keyring.ask([GET], 1)
    assert len(str(raised.value).splitlines()) == 1


def test_a_child_that_dies_without_a_word_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed by the kernel, say."""
    child(monkeypatch).stdout = b"{"
    with pytest.raises(KeyringFailed, match="without a word"):
        os_keyring.ask([GET], 1)


def test_a_child_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python was removed or upgraded under the daemon."""
    child(monkeypatch, error=FileNotFoundError(2, "No such file or directory"))
    with pytest.raises(KeyringFailed, match="cannot be started"):
        os_keyring.ask([GET], 1)


def test_a_keyring_that_asks_a_person_is_left_alone_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may sit there."""
    child(monkeypatch, error=subprocess.TimeoutExpired("fake", 1))
    with pytest.raises(KeyringLocked):
        os_keyring.ask([GET], 1)


@pytest.fixture
def headless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a desktop session."""
    for name in ("DBUS_SESSION_BUS_ADDRESS", "PYTHON_KEYRING_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.usefixtures("headless")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere keyrings need no message bus")
def test_without_a_message_bus_no_keyring_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server pays no child process at each start for a keyring that it cannot have."""
    started = child(monkeypatch, {"values": [None]})
    with pytest.raises(
        NoKeyring, match=r"install one .*, or restart the daemon from the desktop session: broker restart"
    ):
        os_keyring.ask([GET], 1, only_protected=True)
    assert started.argv == []


@pytest.mark.usefixtures("headless")
@pytest.mark.parametrize("sign", ["bus", "address", "variable", "settings"])
def test_any_sign_of_a_keyring_is_followed(sign: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A desktop's bus, or a backend that the person chose."""
    match sign:
        case "bus":
            with socket.socket(socket.AF_UNIX) as bus:
                bus.bind(str(tmp_path / "bus"))
        case "address":
            monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/fake")
        case "variable":
            monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "fake.Backend")
        case "settings":
            (tmp_path / "python_keyring").mkdir()
            (tmp_path / "python_keyring" / "keyringrc.cfg").touch()
    started = child(monkeypatch, {"values": [None]})
    assert os_keyring.ask([GET], 1, only_protected=True) == [None]
    if sign == "bus":
        assert started.given["env"]["DBUS_SESSION_BUS_ADDRESS"] == f"unix:path={tmp_path}/bus"


def test_the_real_child_answers_without_leaving_anything_in_this_process() -> None:
    """The library is loaded there, not here: a daemon's memory is not spent on a question at its start."""
    program = (
        "import sys\n"
        "from broker import os_keyring\n"
        "try:\n"
        "    os_keyring.ask([os_keyring.get('fake', 'me')], 30)\n"
        "except os_keyring.NoKeyring as error:\n"
        "    print('none')\n"
        "print(sorted({'keyring', 'secretstorage', 'cryptography', 'jeepney'} & set(sys.modules)))\n"
    )
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("none\n[]\n", "")
