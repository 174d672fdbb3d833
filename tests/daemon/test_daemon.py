"""The daemon as a process: its start, its signals, its end, and what happens when there are several."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.real.installed import Place, a_place, running
from tests.real.process import coverage_env, wait_until

TWO = """
default = "work"
[credentials.work]
source = "file"
path = "{folder}/key"
[credentials.spare]
source = "demo"
"""


@pytest.fixture
def place() -> Iterator[Place]:
    """Give a private place with a config of two credentials: a file, and the demo source."""
    with a_place() as made:
        made.configure(TWO.format(folder=made.folder))
        write_key(made, "fake-token-1")
        yield made


@pytest.mark.alone
def test_it_serves_and_leaves_nothing_behind(place: Place) -> None:
    """SIGTERM ends it within moments with exit code 0, and its socket is gone."""
    with running(place) as daemon:
        assert token(place) == "fake-token-1"
        started = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - started < 2
    assert not place.socket.exists()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["the socket", "its folder"])
def test_without_its_socket_it_ends_and_makes_room_for_another(place: Place, lost: str) -> None:
    """The last log-out takes the runtime folder away; after the next log-in the state folder must be free."""
    with running(place) as daemon:
        if lost == "the socket":
            place.socket.unlink()
        else:
            shutil.rmtree(place.socket.parent)
        assert daemon.process.wait(10) == 0
        with running(place):
            assert token(place) == "fake-token-1"


@pytest.mark.alone
def test_an_open_event_stream_does_not_delay_its_end(place: Place) -> None:
    """Somebody who watches does not keep the daemon from stopping."""
    with running(place) as daemon, socket.socket(socket.AF_UNIX) as watcher:
        watcher.connect(str(place.socket))
        watcher.sendall(b"GET /v1/events HTTP/1.1\r\nHost: broker\r\n\r\n")
        with watcher.makefile("rb") as stream:
            assert any(b"listening" in line for line in stream)
        started = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("line", [b"Authorization fake-token-1", b"Authorization: " + b"fake-token-1" * 10_000])
def test_a_malformed_request_leaves_nothing_in_the_log(place: Place, line: bytes) -> None:
    """Whatever a confused client sends, its headers and with them its secrets are not written down."""
    with running(place):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place.socket))
            with suppress(BrokenPipeError):  # it need not read all of what it refuses
                client.sendall(b"GET /v1/token HTTP/1.1\r\nHost: broker\r\n" + line + b"\r\n\r\n")
            assert b" 400 " in client.recv(4096)
        log = (place.folder / "daemon.stderr").read_text()
    assert "serving 2 credentials" in log
    assert "Traceback" not in log
    assert "fake-token-1" not in log


@pytest.mark.slow
def test_killed_it_starts_again_over_what_it_left(place: Place) -> None:
    """After `kill -9` the next daemon takes the socket file and the locks over."""
    with running(place) as daemon:
        daemon.kill()
        assert place.socket.exists()
    with running(place):
        assert token(place) == "fake-token-1"


@pytest.mark.slow
def test_twenty_starts_at_once_leave_one_daemon(place: Place) -> None:
    """The others end with exit code 75 and name the one that runs; the one that won goes on serving."""
    many = [start(place) for _ in range(20)]
    wait_until(place.is_serving, "one of them serves")
    wait_until(lambda: sum(each.poll() is None for each in many) == 1, "only one is left")
    survivor = next(each for each in many if each.poll() is None)
    try:
        losers = [each for each in many if each is not survivor]
        assert {each.returncode for each in losers} == {75}
        assert all("another broker is running" in each.communicate()[1] for each in losers)
        assert status(place)["daemon"]["pid"] == survivor.pid
    finally:
        survivor.terminate()
        survivor.communicate()


def test_a_bad_config_is_told_whole_and_nothing_starts(place: Place) -> None:
    """Exit code 78, and every problem on a line of its own, without a traceback."""
    place.configure('default = "nobody"\n[credentials.work]\nsource = "fil"\n[credentials.b]\nsource = "env"\n')
    failed = start(place)
    _out, said = failed.communicate(timeout=30)
    assert failed.returncode == 78
    assert "Traceback" not in said
    for part in (
        "default:",
        "credentials.work.source: no such source; did you mean 'file'?",
        "credentials.b.name: missing",
    ):
        assert part in said


def test_a_reload_keeps_what_did_not_change(place: Place) -> None:
    """SIGHUP serves the new config; a credential whose settings are the same keeps its token and its counters.

    Endpoints open and close with it.
    """
    with running(place) as daemon:
        first = token(place, "spare")
        assert status(place)["daemon"]["endpoints"] == {}
        endpoint = '[endpoints.aws]\nlisten = "127.0.0.1:0"\n'
        place.configure(TWO.format(folder=place.folder) + f'[credentials.new]\nsource = "demo"\n{endpoint}')
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(status(place)["credentials"]) == 3, "the new credential is there")
        assert token(place, "spare") == first
        wait_until(lambda: "aws" in status(place)["daemon"]["endpoints"], "the endpoint is open")
        place.configure(TWO.format(folder=place.folder) + 'lifetime = "30s"\n')
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(status(place)["credentials"]) == 2, "it is gone again")
        assert place.call("GET", "/v1/token?credential=new")[0] == 404
        wait_until(lambda: not status(place)["daemon"]["endpoints"], "and closed again")
        assert token(place, "spare") != first, "its lifetime changed, so the old token went"


def test_a_bad_reload_keeps_the_old_config_and_says_so(place: Place) -> None:
    """A config that is wrong changes nothing but a warning, which a good one takes back."""
    with running(place) as daemon:
        assert token(place) == "fake-token-1"
        place.configure("default = \n")
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: bool(status(place)["daemon"]["warnings"]), "the refusal shows")
        assert status(place)["daemon"]["warnings"][0]["code"] == "config-refused"
        assert token(place) == "fake-token-1"
        place.configure(TWO.format(folder=place.folder))
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not status(place)["daemon"]["warnings"], "the warning is gone")


@pytest.mark.slow
def test_a_changed_file_is_served_without_anybody_asking_for_it(place: Place) -> None:
    """Whoever renews the file need not tell us."""
    with running(place):
        assert token(place) == "fake-token-1"
        write_key(place, "fake-token-2")
        wait_until(lambda: credential(place, "work")["refreshes"] == 2, "the new content is fetched")
        assert token(place) == "fake-token-2"


@pytest.mark.slow
def test_a_file_that_appears_mends_a_failed_credential(place: Place) -> None:
    """A missing file is a clear error, and its coming is noticed at once, whatever the backoff."""
    (place.folder / "key").unlink()
    with running(place):
        answered, body = place.call("GET", "/v1/token")
        assert (answered, b"not there" in body) == (503, True)
        write_key(place, "fake-token-3")
        wait_until(lambda: credential(place, "work")["state"] == "fresh", "it is fetched")
        assert token(place) == "fake-token-3"


def test_no_token_is_in_its_log_or_status(place: Place) -> None:
    """Even at log level debug, and when a fetch fails after one that succeeded."""
    with running(place, env={"BROKER_LOG_LEVEL": "debug"}):
        assert token(place) == "fake-token-1"
        (place.folder / "key").write_text("fake-token-1 and a blank")
        place.call("POST", "/v1/refresh", {"credential": "work"})
        shown = json.dumps(status(place))
    said = (place.folder / "daemon.stderr").read_text()
    assert "serving 2 credentials" in said
    assert "fake-token" not in said + shown


@pytest.mark.slow
def test_its_memory_is_closed_to_others(place: Place) -> None:
    """No core dump can be made of it, and what it creates is its owner's alone."""
    with running(place) as daemon:
        limits = Path(f"/proc/{daemon.process.pid}/limits").read_text()
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
        umask = next(
            line for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines() if "Umask" in line
        )
        assert umask.split()[1] == "0077"


@pytest.mark.slow
def test_only_what_a_config_needs_is_loaded(place: Place) -> None:
    """A daemon that serves a file loads no keyring, no metrics and no cloud library."""
    with running(place) as daemon:
        assert token(place) == "fake-token-1"
        mapped = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    assert "_cffi_backend" not in mapped  # cryptography's, which keyring brings
    code = "import sys, broker.daemon.serving; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"keyring", "prometheus_client", "boto3", "google", "rich", "click"} & set(loaded)


def token(place: Place, name: str | None = None) -> str:
    """Ask for a token; fail when there is none."""
    answered, body = place.call("GET", "/v1/token" + (f"?credential={name}" if name else ""))
    assert answered == 200, body
    return body.decode()


def status(place: Place) -> Any:  # noqa: ANN401  # JSON
    """Ask for the status."""
    return json.loads(place.call("GET", "/v1/status")[1])


def credential(place: Place, name: str) -> Any:  # noqa: ANN401  # JSON
    """Ask for one credential's status."""
    return place.credential(name)


def write_key(place: Place, text: str) -> None:
    """Replace the file as careful programs do: written beside it, then renamed."""
    new = place.folder / "key.new"
    new.write_text(text)
    new.chmod(0o600)
    new.rename(place.folder / "key")


def start(place: Place) -> subprocess.Popen[str]:
    """Start a daemon without waiting for it."""
    env = {"HOME": str(place.folder), "PATH": os.environ["PATH"]} | place.env | coverage_env()
    command = [sys.executable, "-m", "broker.cli", "run"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
