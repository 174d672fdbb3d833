"""The `keyring` source, over a fake backend (tests/real has a real one)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading

import keyring
import pytest
from keyring import errors
from keyring.backends import fail

from broker import os_keyring
from broker.errors import PermanentFetchError, TransientFetchError
from broker.os_keyring import child
from broker.sources.keyring import KeyringFetcher, KeyringSettings
from tests.contracts.source_contract import (
    PATIENCE_S,
    VALUE,
    Harness,
    SourceOfValues,
    SourceThatFails,
    SourceThatWaits,
    eventually,
    failure,
)

SETTINGS = KeyringSettings("fake service", "me")


class _FakeBackend:
    """One entry in memory, behind a gate, or an error."""

    def __init__(self) -> None:
        self.entry: str | None = VALUE
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def get_password(self, service: str, username: str) -> str | None:
        self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return self.entry if (service, username) == (SETTINGS.service, SETTINGS.username) else None


class _KeyringHarness(Harness):
    """Drives the backend."""

    def __init__(self, backend: _FakeBackend) -> None:
        self._backend = backend
        self._fetcher = KeyringFetcher(SETTINGS)

    def fetcher(self) -> KeyringFetcher:
        return self._fetcher

    def give(self, text: str) -> None:
        self._backend.entry = text

    def remove(self) -> None:
        self._backend.entry = None

    def hang(self) -> None:
        self._backend.gate.clear()

    def release(self) -> None:
        self._backend.gate.set()

    def fail(self, saying: str) -> None:
        self._backend.error = RuntimeError(saying)


def threads(fetcher: KeyringFetcher) -> int:
    """Count the threads that work for this fetcher."""
    return sum(getattr(thread, "_target", None) == fetcher._thread._work for thread in threading.enumerate())


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> _FakeBackend:
    """Give the fake backend, installed as keyring's."""
    backend = _FakeBackend()
    monkeypatch.setattr(keyring.core, "_keyring_backend", backend)
    monkeypatch.setattr(os_keyring, "_talk", _in_this_process)
    return backend


def _in_this_process(request: bytes, _timeout_s: float) -> object:
    """Do what the child process does."""
    asked = json.loads(request)
    return child.respond(asked["requests"], only_protected=asked["only_protected"])


class TestKeyring(SourceOfValues, SourceThatWaits, SourceThatFails):
    """It keeps the contract."""

    @pytest.fixture
    def harness(self, backend: _FakeBackend) -> Harness:
        """Give an entry in a keyring."""
        return _KeyringHarness(backend)


async def test_a_missing_entry_names_the_command_that_makes_it(backend: _FakeBackend) -> None:
    """The command can be pasted as it is, and what comes after it is said too."""
    backend.entry = None
    error = await failure(KeyringFetcher(SETTINGS))
    assert isinstance(error, PermanentFetchError)
    assert "keyring set 'fake service' me; then: broker refresh" in str(error)


async def test_a_locked_keyring_is_tried_again(backend: _FakeBackend) -> None:
    """It is unlocked sooner or later, without us."""
    backend.error = errors.KeyringLocked("fake")
    error = await failure(KeyringFetcher(SETTINGS))
    assert isinstance(error, TransientFetchError)
    assert "unlock" in str(error)


@pytest.mark.usefixtures("backend")
async def test_a_system_without_keyring_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's stand-in for "none" fails for good, with advice."""
    monkeypatch.setattr(keyring.core, "_keyring_backend", fail.Keyring())  # type: ignore[no-untyped-call]  # as the library has it
    error = await failure(KeyringFetcher(SETTINGS))
    assert isinstance(error, PermanentFetchError)
    assert "gnome-keyring" in str(error)


async def test_a_hung_keyring_holds_one_thread_however_often_it_is_asked(backend: _FakeBackend) -> None:
    """A hundred fetches of a keyring that waits for a prompt leave one thread, and fail at once meanwhile."""
    backend.gate.clear()
    fetcher = KeyringFetcher(SETTINGS)
    asking = asyncio.create_task(fetcher.fetch())
    await eventually(lambda: threads(fetcher) == 1)
    asking.cancel()
    await asyncio.wait({asking})
    for _ in range(100):
        assert "still waiting" in str(await failure(fetcher))
    assert threads(fetcher) == 1
    backend.gate.set()
    await eventually(lambda: threads(fetcher) == 0)


async def test_a_hung_keyring_does_not_hold_up_another_credential(backend: _FakeBackend) -> None:
    """Every fetcher has a thread of its own: no shared pool that a hung source could fill."""
    backend.gate.clear()
    hung = [asyncio.create_task(KeyringFetcher(SETTINGS).fetch()) for _ in range(40)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), PATIENCE_S) == "free"
    backend.gate.set()
    await asyncio.gather(*hung)


async def test_a_system_without_threads_left_is_an_error_and_heals(
    backend: _FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stays locked after it."""

    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    fetcher = KeyringFetcher(SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        assert "no more threads" in str(await failure(fetcher))
    assert (await fetcher.fetch()).parts


@pytest.mark.usefixtures("backend")
async def test_a_library_that_is_not_there_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever strips an installation reads what is missing."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    error = await failure(KeyringFetcher(SETTINGS))
    assert isinstance(error, PermanentFetchError)
    assert "pip install" in str(error)


def test_a_process_exits_although_its_keyring_hangs() -> None:
    """`broker stop` works while a keyring waits for a prompt that nobody sees."""
    program = (
        "import asyncio, threading\n"
        "from broker.sources.blocking import Blocking\n"
        "async def main():\n"
        "    hung = asyncio.create_task(Blocking('test').run(threading.Event().wait))\n"
        "    await asyncio.sleep(0.01)\n"
        "    hung.cancel()\n"
        "asyncio.run(main())\n"
        "print('over')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


def test_the_sources_load_no_library_of_theirs() -> None:
    """A daemon that serves one command pays nothing for keyrings: neither time nor memory."""
    program = "import sys, broker.sources; print(sorted({'keyring', 'aiohttp', 'cattrs', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("service", "username"), [("", "me"), ("fake", "")])
def test_an_entry_has_both_names(service: str, username: str) -> None:
    """An empty name can be no entry's."""
    with pytest.raises(ValueError, match="must not be empty"):
        KeyringSettings(service, username)
