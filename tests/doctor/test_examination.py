"""What a person can rely on whatever the doctor finds: it changes nothing, shows nothing secret, and comes to an end."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.doctor import Finding, Severity, examine
from broker.doctor.finding import error, fine, notice, parted, warning
from broker.doctor.registry import ALL
from broker.doctor.scene import Scene
from tests.doctor.conftest import CONFIG, Patient
from tests.fakes.control import credential_status

SECRET = "fake-key-that-nobody-may-see"


def snapshot(folder: Path) -> dict[str, tuple[int, float, bytes]]:
    """Take down every file's mode, time and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        look = path.lstat()
        found[str(path)] = (look.st_mode, look.st_mtime, path.read_bytes() if path.is_file() else b"")
    return found


def test_a_healthy_place_gets_no_finding_over_notice(patient: Patient) -> None:
    """Exit 0; every area says in a line that it was looked at."""
    report = patient.examine()
    assert report.exit_code == 0
    assert {area for area, _ in report.findings} == set(ALL)
    assert [found.code for _, found in report.findings if found.severity] == ["helper-python"]


def test_a_set_up_that_was_never_begun_is_told_how(patient: Patient) -> None:
    """An empty home: what is missing is named with the command that makes it, and nothing fails over it."""
    patient.stop()
    empty = patient.folder / "empty"
    empty.mkdir()
    patient.env["HOME"] = str(empty)
    report = patient.examine()
    bad = {found.code: found.mend for _, found in report.findings if found.severity >= Severity.WARNING}
    assert bad == {"config-missing": "broker setup claude-code", "not-set-up": "broker setup claude-code"}
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("runs", [True, False], ids=["daemon", "no daemon"])
def test_the_doctor_changes_nothing(patient: Patient, *, runs: bool) -> None:
    """No file is touched, also one that the daemon would set aside; the daemon is asked for no token."""
    (patient.state / "cache.bin").write_bytes(b"what is no store")
    (patient.state / "cache.bin").chmod(0o600)
    (patient.state / "allowed.json").write_text("{")
    if not runs:
        patient.stop()
    before = snapshot(patient.folder)
    patient.examine()
    assert snapshot(patient.folder) == before
    assert {ask.split()[1] for ask in patient.script.asks} <= {"/v1/status", "/v1/audit/verify"}


def test_only_what_the_daemon_does_not_hold_is_fetched(patient: Patient) -> None:
    """By a refresh, whose answer holds no token."""
    patient.script.credentials = [
        credential_status("work", source="demo"),
        credential_status("b", source="demo", state="empty"),
        credential_status("c", source="demo", state="failing", last_error="HTTP 503"),
    ]
    patient.configure("".join(f'[credentials.{name}]\nsource = "demo"\n' for name in ("work", "b", "c")))
    patient.examine()
    assert [ask for ask in patient.script.asks if "refresh" in ask] == ['POST /v1/refresh {"credential": "b"}']
    assert not [ask for ask in patient.script.asks if "/v1/token" in ask or "/v1/credentials" in ask]


def test_no_secret_is_shown(patient: Patient) -> None:
    """Not one that lies in a variable, in a settings file, in a helper's command line, or where a name should be."""
    patient.env |= {"ANTHROPIC_API_KEY": SECRET, "BROKER_TIMEOUT_MS": SECRET, "BROKER_CREDENTIAL": SECRET * 3}
    patient.settings(
        apiKeyHelper=f"{patient.helper} {SECRET}",
        env={
            "ANTHROPIC_AUTH_TOKEN": SECRET,
            "BROKER_SOCKET": f"/{SECRET}",
            "CLAUDE_CODE_API_KEY_HELPER_TTL_MS": SECRET,
            "ANTHROPIC_BASE_URL": f"https://user:{SECRET}@llm.example",
            "CLAUDE_CODE_USE_BEDROCK": SECRET,
        },
    )
    patient.project_settings({"apiKeyHelper": f"echo {SECRET}", "env": {"HTTPS_PROXY": f"http://{SECRET}@proxy"}})
    report = patient.examine()
    assert report.exit_code == 2
    assert SECRET not in json.dumps(report.as_json())


def test_what_hangs_becomes_a_finding(patient: Patient) -> None:
    """The others are told in time, and nobody waits for the one that hangs."""
    hangs = threading.Event()

    def never(_: Scene) -> list[Finding]:
        hangs.wait()
        return []

    def quick(_: Scene) -> list[Finding]:
        return [fine("quick", "fine")]

    began = time.monotonic()
    report = examine(patient.env, str(patient.project), checks={"a": never, "b": quick}, within_s=0.05)
    hangs.set()
    assert time.monotonic() - began < 5
    assert [(area, found.code) for area, found in report.findings] == [("a", "check-hangs"), ("b", "quick")]
    assert report.exit_code == 1


def test_a_check_that_fails_is_a_finding_that_quotes_nothing(patient: Patient) -> None:
    """Never a traceback; only the error's kind is told, since nobody knows what its text holds."""

    def broken(_: Scene) -> list[Finding]:
        raise RuntimeError(SECRET)

    report = examine(patient.env, str(patient.project), checks={"a": broken})
    assert [(found.code, found.severity) for _, found in report.findings] == [("check-failed", Severity.WARNING)]
    assert "RuntimeError" in report.findings[0][1].what
    assert SECRET not in json.dumps(report.as_json())


def test_files_that_would_hang_or_hurt_do_neither(patient: Patient) -> None:
    """FIFOs and garbage in the place of every file that is read."""
    patient.stop()
    for path in (
        patient.config,
        patient.user_settings,
        patient.state / "cache.bin",
        patient.state / "audit.jsonl",
        patient.helper,
    ):
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
    patient.project_settings([["no object"]])
    (patient.state / "allowed.json").write_bytes(b"\xff\x00")
    report = patient.examine()
    codes = {found.code for _, found in report.findings}
    assert not {"check-hangs", "check-failed"} & codes
    assert {"config", "settings-unreadable", "audit-unreadable"} <= codes
    assert report.seconds < 5


def test_the_exit_code_is_that_of_the_worst() -> None:
    """0, 1, 2 as `status --check`; advice is no reason to fail."""
    from broker.doctor import Report  # noqa: PLC0415  # beside what it is made of

    grades = [fine("a", "x"), notice("b", "x", "y", "z"), warning("c", "x", "y", "z"), error("d", "x", "y", "z")]
    codes = [Report([("area", found) for found in grades[:count]], 0.1).exit_code for count in range(5)]
    assert codes == [0, 0, 0, 1, 2]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("no daemon; run: broker start", ("no daemon", "broker start")),
        ("a; b; c", ("a", "b; c")),
        ("a", ("a", "else")),
    ],
)
def test_an_errors_line_is_parted_into_what_and_how(message: str, expected: tuple[str, str]) -> None:
    """So that the command stands by itself, to be copied."""
    assert parted(message, "else") == expected


def test_one_hanging_source_hides_no_other(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a daemon too: each source has its own time, and all of them have a common end."""
    monkeypatch.setattr("broker.doctor.scene.FETCHED_WITHIN_S", 0.2)
    patient.stop()
    patient.configure(CONFIG + '[credentials.slow]\nsource = "demo"\ndelay = "1h"\n')
    report = patient.examine()
    told = [found.what for area, found in report.findings if area == "credentials"]
    assert told == ["slow: the source did not answer within 0 s"]


def test_a_source_whose_turn_never_came_is_not_accused(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before it took the time: only they are at fault."""
    monkeypatch.setattr("broker.doctor.scene.FETCHED_WITHIN_S", 0.1)
    monkeypatch.setattr("broker.doctor.trial.PARALLEL_MAX", 1)
    patient.stop()
    slow = 'source = "demo"\ndelay = "1h"\n'
    patient.configure(f"[credentials.work]\n{slow}[credentials.b]\n{slow}[credentials.c]\n{slow}")
    told = {found.code: found.what for area, found in patient.examine().findings if area == "credentials"}
    assert told["source-failed"].startswith("work:")
    assert told["credentials-untried"] == "2 of 3 could not be tried in time, b first"


def test_nowhere_is_a_finding_too(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """No home, or a relative config in a folder that is gone: neither is a traceback."""
    assert patient.env.pop("HOME")
    assert patient.found("place-unusable").severity is Severity.ERROR
    patient.env |= {"HOME": str(patient.folder), "BROKER_CONFIG": "here.toml"}
    monkeypatch.chdir(patient.project)
    patient.project.rmdir()
    assert "present folder" in patient.found("place-unusable").what


def test_a_home_that_only_claude_code_lacks_is_no_bug(patient: Patient) -> None:
    """The broker's own places may all be named."""
    del patient.env["HOME"]
    patient.env |= {"BROKER_CONFIG": str(patient.config), "BROKER_STATE_DIR": str(patient.state)}
    codes = {found.code for _, found in patient.examine().findings}
    assert not {"check-failed", "check-hangs"} & codes


@pytest.mark.parametrize(
    ("group", "members", "found"),
    [("me", [], False), ("me", ["somebody"], True), ("staff", [], True), (None, [], True)],
    ids=["my own", "mine and somebody's", "not mine", "unknown"],
)
def test_a_group_of_ones_own_is_nobody_else(
    group: str | None,
    members: list[str],
    *,
    found: bool,
    patient: Patient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Systems that make a group for each user let it write what the user writes (umask 002)."""

    def named(_gid: int) -> SimpleNamespace:
        if group is None:
            raise KeyError
        return SimpleNamespace(gr_name=group, gr_mem=members)

    if os.geteuid() == 0:
        os.chown(patient.user_settings, -1, 4321)  # root's own group is never one of a user's alone
    monkeypatch.setattr("grp.getgrgid", named)
    monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_name="me", pw_dir=str(patient.folder)))
    patient.user_settings.chmod(0o664)
    codes = {one.code for _, one in patient.examine().findings}
    assert ("settings-writable" in codes) == found
