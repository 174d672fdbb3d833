"""`broker audit`: who was given what, when."""

from __future__ import annotations

import asyncio
import io
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from broker.cli.audit.view import TITLES
from broker.secret import Secret
from broker.storage.audit import files
from broker.storage.audit.books import Books
from broker.storage.audit.chain import Key
from broker.storage.audit.trail import Entry, Trail
from broker.storage.store import EncryptedStore
from tests.cli.conftest import CHECKOUT, Said, Type
from tests.fakes.control import Script

KEY = Key(b"k" * 32, kept=True)
AT = 1_800_000_000.0
SERVED: dict[str, str | int | None] = {
    "event": "served",
    "credential": "work",
    "fingerprint": "0123456789ab",
    "expires_in_s": 2520,
    "pid": 30,
    "program": "broker-helper",
    "session": 10,
    "role": "helper",
}
Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def state(folder: Path) -> Path:
    """Give a state folder."""
    made = folder / "state"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def trail(state: Path) -> Trail:
    """Give a trail that a daemon just opened."""
    return Trail(state, KEY, None)


def happened(trail: Trail, *facts: dict[str, str | int | None]) -> None:
    """Write down that this happened."""
    trail.append([Entry(AT, each) for each in facts])


def cells(line: str) -> list[str]:
    """Take a line apart."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_a_pipe_gets_plain_lines(type_: Type, trail: Trail) -> None:
    """One a line, with who it was, aligned below titles; `-` for nothing."""
    happened(
        trail,
        SERVED,
        SERVED | {"program": "curl", "role": "child", "times": 12},
        SERVED | {"role": "other", "session": None, "expires_in_s": None},
        SERVED | {"pid": 0, "program": "", "role": "other"},
        {"event": "failed", "credential": "work", "reason": "the source did not answer"},
    )
    said = type_("audit")
    assert (said.code, said.err) == (0, "")
    title, opened, helper, child, person, container, failed = said.out.splitlines()
    assert cells(title) == list(TITLES)
    assert cells(opened)[1:] == ["opened", "-", "-", "-", "-", "the daemon started"]
    moment = "2027-01-15T08:00:00Z"
    assert cells(helper) == [moment, "served", "work", "0123456789ab", "42m", "broker-helper[30] for session 10", "-"]
    assert cells(child)[5:] == ["curl[30] below session 10", "12 times"]
    assert cells(person)[4:] == ["-", "broker-helper[30]", "-"]
    assert cells(container)[5] == "unknown (another pid namespace)"
    assert cells(failed)[1:] == ["failed", "work", "-", "-", "-", "the source did not answer"]


def test_so_many_lines_as_asked_for(type_: Type, trail: Trail) -> None:
    """The last ones; forty unless told otherwise."""
    for _ in range(50):
        happened(trail, SERVED)
    assert type_("audit").out.count("\n") == 1 + 40
    assert type_("audit -n 3").out.count("\n") == 1 + 3
    assert type_("audit -n 1000").out.count("\n") == 1 + 51
    assert type_("audit -n -1").code == 64


def test_json_gives_the_lines_of_the_file(type_: Type, trail: Trail, state: Path) -> None:
    """With their MACs, so that they can be kept elsewhere; never anything that is no JSON."""
    happened(trail, SERVED)
    assert type_("audit --json").out == files.current(state).read_text()
    with files.current(state).open("a") as file:
        file.write("gibberish\n")
    said = type_("audit --json")
    assert [json.loads(line)["event"] for line in said.out.splitlines()] == ["opened", "served"]
    assert "left out what is no line of an audit trail" in said.err


def test_what_somebody_wrote_into_the_file_does_not_steer_the_terminal(type_: Type, trail: Trail, state: Path) -> None:
    """Escape sequences are shown as such, and what is no line is called so."""
    happened(trail, {"event": "failed", "reason": "\x1b[2Jgone"})
    evil = {"seq": 9, "event": "\x1b[2J", "at": "\x1b]0;", "credential": ["\u202e"], "pid": "\x07", "role": "x"}
    with files.current(state).open("a") as file:
        file.write(json.dumps(evil) + "\n[1]\nnothing\n" + "[" * 9000 + "\n")
    said = type_("audit")
    assert said.code == 0
    assert said.out.replace("\n", "").isprintable()
    assert said.out.count("no line of an audit trail; run: broker audit --verify") == 3


def test_before_the_first_daemon_there_is_nothing(type_: Type, folder: Path) -> None:
    """Which is said, with what begins it."""
    said = type_("audit")
    assert (said.code, said.out) == (0, "")
    assert "audit.jsonl: nothing yet; a daemon writes it: broker start" in said.err


def test_a_terminal_gets_a_table(trail: Trail, state: Path) -> None:
    """In colour, and a refusal stands out."""
    happened(trail, SERVED, {"event": "refused", "credential": "work", "reason": "settings.json steers elsewhere"})
    master, slave = os.openpty()
    env = os.environ | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "COLUMNS": "150", "LINES": "30"}
    subprocess.run(
        [sys.executable, "-m", "broker.cli", "audit"],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        check=True,
        cwd=CHECKOUT,
        env=env,
        timeout=60,
    )
    os.close(slave)
    drawn = os.read(master, 65_536).decode()
    os.close(master)
    assert "\x1b[31mrefused\x1b[0m" in drawn
    assert "broker-helper[30] for session 10" in drawn


# --- --follow -------------------------------------------------------------------------------------------------------


def next_line(stream: IO[str] | None) -> str:
    """Read a line; fail where none comes."""
    assert stream is not None
    assert select.select([stream], [], [], 30)[0], "no line comes"
    return stream.readline()


@pytest.mark.slow
def test_what_happens_is_followed(spawn: Spawn, trail: Trail, state: Path) -> None:
    """First the last lines, then each as it comes; through a rotation and a new daemon. Ctrl-C is the normal end."""
    happened(trail, SERVED)
    with spawn("audit --follow -n 1") as following:
        assert cells(next_line(following.stdout))[1:3] == ["served", "work"]
        happened(trail, {"event": "rejected", "credential": "work"})
        assert cells(next_line(following.stdout))[1:3] == ["rejected", "work"]
        files.rotate(state)
        trail.close()
        again = Trail(state, KEY, trail.link)
        assert cells(next_line(following.stdout))[1] == "opened"
        happened(again, {"event": "failed", "credential": "other"})
        assert cells(next_line(following.stdout))[1:3] == ["failed", "other"]
        following.send_signal(signal.SIGINT)
        out, err = following.communicate(timeout=30)
    assert (following.returncode, out, err) == (0, "", "")


@pytest.mark.slow
def test_a_trail_that_begins_later_is_followed_as_json(spawn: Spawn, state: Path) -> None:
    """The daemon is started after the reader."""
    with spawn("audit --follow --json") as following:
        made = Trail(state, KEY, None)
        assert json.loads(next_line(following.stdout))["event"] == "opened"
        happened(made, SERVED)
        assert json.loads(next_line(following.stdout))["event"] == "served"
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=30)
    assert following.returncode == 0


# --- --verify -------------------------------------------------------------------------------------------------------

VERDICT = {"intact": True, "lines": 1204, "proven": 1204, "findings": [], "limits": ["a holder of the key ..."]}
VERIFY = "POST /v1/audit/verify {}"


def test_a_running_daemon_is_asked(type_: Type, control: Script) -> None:
    """Only it may have the key. What nobody can prove is said too."""
    control.raw["/v1/audit/verify"] = json.dumps(VERDICT).encode()
    said = type_("audit --verify")
    assert said.code == 0
    assert said.out.splitlines() == [
        "1,204 lines, 1,204 proven: no sign that any was changed, moved or cut",
        "What is not proven:",
        "  a holder of the key ...",
    ]
    assert control.asks == [VERIFY]


def test_what_was_found_is_exit_code_1(type_: Type, control: Script) -> None:
    """With every finding, also as JSON."""
    found = VERDICT | {"intact": False, "proven": 1203, "findings": ["audit.jsonl, line 3: number 3 was changed \x1b["]}
    control.raw["/v1/audit/verify"] = json.dumps(found).encode()
    said = type_("audit --verify")
    assert said.code == 1
    assert said.out.splitlines()[:2] == [
        "1,204 lines, 1,203 proven: not as the daemon wrote them",
        "  found: audit.jsonl, line 3: number 3 was changed �[",
    ]
    said = type_("audit --verify --json")
    assert (said.code, json.loads(said.out)) == (1, found)


@pytest.mark.parametrize("answer", [b"{}", b'{"lines": "x", "proven": 1, "findings": [], "limits": []}', b"[]"])
def test_a_daemon_of_another_version_is_said_to_be_one(type_: Type, control: Script, answer: bytes) -> None:
    """Not a traceback."""
    control.raw["/v1/audit/verify"] = answer
    said = type_("audit --verify")
    assert said.code == 69
    assert "run: broker restart" in said.err


def test_without_a_daemon_and_a_key_nothing_can_be_proven(type_: Type, trail: Trail, folder: Path) -> None:
    """It says so, with what would change that."""
    config = folder / "config.toml"
    config.write_text('[credentials.work]\nsource = "demo"\n[daemon]\npersist = "off"\n')
    config.chmod(0o600)
    said = type_("audit --verify")
    assert (said.code, said.out) == (78, "")
    assert "only by the daemon that writes it, while it runs; to change that see [daemon] persist" in said.err


@pytest.mark.slow
def test_a_passphrase_is_asked_for_where_that_is_the_key(
    type_: Type, state: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a daemon; never a new one, and a wrong one proves nothing."""
    config = folder / "config.toml"
    config.write_text('[credentials.work]\nsource = "demo"\n[daemon]\npersist = "passphrase"\n')
    config.chmod(0o600)

    def verify(passphrase: str) -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(passphrase.encode())))
        return type_("audit --verify")

    assert verify("fake-passphrase\n").code == 78, "there is no store yet, and nothing to make one for"
    asyncio.run(_kept_under("fake-passphrase", state))
    said = verify("fake-passphrase\n")
    assert (said.code, said.err) == (0, "")
    assert "2 lines, 2 proven: no sign that any was changed" in said.out
    assert verify("wrong\n").code == 77
    files.current(state).write_bytes(files.current(state).read_bytes().replace(b"served", b"failed"))
    assert verify("fake-passphrase\n").code == 1


async def _kept_under(passphrase: str, state: Path) -> None:
    """Leave a trail and its store as a daemon does."""
    store = EncryptedStore(state, "passphrase")
    await store.open()
    await store.unlock(Secret(passphrase))
    books = Books(state, store)
    await books.open()
    books.record(AT, SERVED)
    await books.close()
    await store.close()


def test_contradictions_are_refused(type_: Type) -> None:
    """One look at all of it cannot follow."""
    for line in ("audit --verify --follow", "audit --verify -n 3"):
        assert type_(line).code == 64


def test_errors_of_the_folder_are_one_line(type_: Type, state: Path) -> None:
    """A folder in the file's place."""
    files.current(state).mkdir()
    said = type_("audit")
    assert said.code == 77
    assert said.err.count("\n") == 1
    assert "not a plain file of yours; move it away" in said.err
