"""Every fault that the doctor promises to find, planted in a healthy place: a table of fault and code."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker import locks, os_keyring
from broker.doctor import Severity
from broker.doctor.areas import helper as helper_area
from broker.integrations import systemd_units
from broker.secret import Secret
from tests.doctor.conftest import CONFIG, Patient
from tests.fakes.control import credential_status
from tests.real.process import wait_until

NOTICE, WARNING, ERROR = Severity.NOTICE, Severity.WARNING, Severity.ERROR
Plant = Callable[[Patient], object]


def variable(name: str, value: str) -> Plant:
    """Set a variable in the shell."""
    return lambda patient: patient.env.update({name: value})


def user_env(name: str, value: str) -> Plant:
    """Set a variable in the user's settings of Claude Code."""
    return lambda patient: patient.settings(env={name: value})


def helper(line: str) -> Plant:
    """Name another helper in the user's settings."""
    return lambda patient: patient.settings(apiKeyHelper=line)


def read_only_state(patient: Patient) -> None:
    """Have the system say so: modes do not stop root, and a read-only file system cannot be made without it."""
    writable = os.access
    patient.patch.setattr(
        "os.access", lambda path, mode: (path != patient.state or not mode & os.W_OK) and writable(path, mode)
    )


def config(text: str) -> Plant:
    """Write another config, which the daemon has read."""

    def plant(patient: Patient) -> None:
        patient.configure(text)

    return plant


def daemon(**changes: object) -> Plant:
    """Have the daemon say something else of itself."""
    return lambda patient: patient.script.daemon.update(changes)


def warned(code: str) -> Plant:
    """Have the daemon warn."""
    return daemon(warnings=[{"code": code, "message": "what is wrong; run: broker mend"}])


def credential(**changes: object) -> Plant:
    """Have the daemon say something else of its credential."""

    def plant(patient: Patient) -> None:
        patient.script.credentials = [credential_status("work", **{"source": "demo", "expires_at": None} | changes)]

    return plant


def mode(of: Callable[[Patient], Path], bits: int) -> Plant:
    """Open a file or folder to others."""
    return lambda patient: of(patient).chmod(bits)


def without_daemon(plant: Plant = lambda _: None) -> Plant:
    """Plant a fault where no daemon runs."""

    def both(patient: Patient) -> None:
        patient.stop()
        plant(patient)

    return both


def systemctl(said: str) -> Plant:
    """Have a user manager that says this of every unit."""

    def plant(patient: Patient) -> None:
        units = patient.folder / ".config" / "systemd" / "user"
        units.mkdir(parents=True)
        (units / "broker.service").write_text("# a person's own\n")
        lines = said.format(units=units)
        patient.program("systemctl", f"cat <<'END'\n{lines}\nEND".replace("cat", "/bin/cat"))

    return plant


def written(of: Callable[[Patient], Path], text: str) -> Plant:
    """Write a file."""

    def plant(patient: Patient) -> None:
        of(patient).parent.mkdir(parents=True, exist_ok=True)
        of(patient).write_text(text)
        of(patient).chmod(0o600)

    return plant


def managed(patient: Patient) -> Path:
    """Name the administrator's settings."""
    return patient.folder / "managed" / "managed-settings.json"


def far_ahead(patient: Patient) -> None:
    """Leave a file from the future."""
    path = patient.state / "broker.log"
    path.touch(mode=0o600)
    os.utime(path, (time.time() + 86_400,) * 2)


def state_is_a_file(patient: Patient) -> None:
    """Put a file where the state folder should be."""
    patient.state.rmdir()
    patient.state.touch()


def elsewhere(patient: Patient) -> None:
    """Let a process that looks like another installation's daemon answer for the pid."""
    patient.script.daemon["pid"] = patient.runs(
        "/opt/old/bin/python", "-c", "read line", "run", executable="/bin/sh"
    ).pid


def state_held(patient: Patient) -> None:
    """Let another process hold the lock of the state folder."""
    lock = patient.state / "state.lock"
    hold = "import sys, pathlib; from broker import locks; locks.take(pathlib.Path(sys.argv[1]), locks.STATE); input()"
    patient.runs(sys.executable, "-c", hold, str(patient.state), executable=sys.executable)
    wait_until(lambda: locks.holder(lock) is not None, "the lock is held")


def silent_keyring(patient: Patient) -> None:
    """Have the system's keyring locked."""

    def locked(*_: object, **__: object) -> list[None]:
        raise os_keyring.KeyringLocked("the keyring is locked; unlock it")

    patient.patch.setattr(os_keyring, "ask", locked)


def keyring(patient: Patient) -> None:
    """Have a keyring in this session that is unlocked and holds a key."""
    patient.patch.setattr(os_keyring, "ask", lambda *_, **__: [Secret("0" * 64)])


def own_units(state: str) -> Plant:
    """Have units that setup wrote: by an older version, or with a person's own line."""

    def plant(patient: Patient) -> None:
        units = patient.folder / ".config" / "systemd" / "user"
        units.mkdir(parents=True)
        for unit in systemd_units.installed(units, Path("/opt/old/bin/broker")):
            unit.write()
            if state == "edited":
                unit.path.write_text(unit.wanted + "Nice=5\n")

    return plant


def set_back(patient: Patient) -> None:
    """Let the daemon's token live two hours longer by the time of day than by its own clock."""
    late = datetime.fromtimestamp(time.time() + 2 * 3600, UTC)
    patient.script.credentials[0] |= {"expires_at": late.strftime("%Y-%m-%dT%H:%M:%SZ"), "expires_in_s": 60}


def another_installation(patient: Patient) -> None:
    """Let the settings name a helper that is there, but not this one."""
    other = patient.folder / "old" / "broker-helper"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    patient.settings(apiKeyHelper=str(other))


def old_claude(patient: Patient) -> None:
    """Install a Claude Code that knows less."""
    package = patient.folder / "lib" / "package.json"
    package.parent.mkdir()
    package.write_text('{"name": "@anthropic-ai/claude-code", "version": "2.1.197"}')
    (package.parent / "bin").mkdir()
    (package.parent / "bin" / "claude.exe").write_text("")
    (package.parent / "bin" / "claude.exe").chmod(0o755)
    (patient.folder / "bin" / "claude").symlink_to(package.parent / "bin" / "claude.exe")


UNIT = "LoadState=loaded\nActiveState={active}\nUnitFileState=enabled\nResult={result}\nNeedDaemonReload={stale}\nFragmentPath={{units}}/x"

FAULTS: dict[str, tuple[Plant, str, Severity]] = {
    # places
    "a relative state folder": (variable("BROKER_STATE_DIR", "here"), "place-unusable", ERROR),
    "a socket path too long": (variable("BROKER_SOCKET", "/" + "x" * 200), "place-unusable", ERROR),
    "a settings file moves the socket": (user_env("BROKER_SOCKET", "/tmp/x/b.sock"), "places-differ", ERROR),
    "a settings file moves it nowhere": (user_env("BROKER_SOCKET", "here"), "places-differ", ERROR),
    "a deadline beyond Claude Code's": (variable("BROKER_TIMEOUT_MS", "30000"), "timeout-unfit", WARNING),
    # config
    "no config": (lambda patient: patient.config.unlink(), "config-missing", ERROR),
    "a wrong config": (config("[credentials.work]\nsource = 1\n"), "config", ERROR),
    "others can write the config": (mode(lambda patient: patient.config, 0o666), "config", ERROR),
    "no default": (config(CONFIG + '[credentials.b]\nsource = "demo"\n'), "no-default", NOTICE),
    # socket and daemon
    "no daemon": (without_daemon(), "daemon-not-running", NOTICE),
    "no daemon, and none may be started": (
        without_daemon(variable("BROKER_AUTOSTART", "0")),
        "daemon-not-running",
        WARNING,
    ),
    "others can reach the socket": (mode(lambda patient: patient.socket, 0o666), "socket-unsafe", ERROR),
    "others can reach its folder": (mode(lambda patient: patient.socket.parent, 0o755), "socket-unsafe", ERROR),
    "what answers is no daemon": (
        lambda patient: patient.script.raw.update({"/v1/status": b"{}"}),
        "daemon-silent",
        ERROR,
    ),
    "an old daemon": (daemon(version="0.0.1"), "daemon-version", WARNING),
    "a daemon with another config": (config('[credentials.else]\nsource = "demo"\n'), "daemon-config", WARNING),
    "a daemon of another installation": (elsewhere, "daemon-elsewhere", WARNING),
    "a daemon elsewhere keeps its state here": (without_daemon(state_held), "state-held", ERROR),
    "locked": (daemon(locked=True), "locked", WARNING),
    "the daemon warns": (warned("config-refused"), "daemon-config-refused", WARNING),
    # helper
    "no helper": (lambda patient: patient.helper.unlink(), "helper-missing", ERROR),
    "a helper that is no program": (mode(lambda patient: patient.helper, 0o644), "helper-not-executable", ERROR),
    "an old helper": (
        lambda patient: patient.program("broker-helper", "echo broker-helper 0.0.1 >&2\nexit 78"),
        "helper-version",
        WARNING,
    ),
    "a helper that finds no daemon": (
        lambda patient: patient.program("broker-helper", "echo no daemon >&2\nexit 69"),
        "helper-fails",
        ERROR,
    ),
    "a helper that takes long": (
        lambda patient: patient.patch.setattr(helper_area, "SLOW_MS", 0.0),
        "helper-slow",
        WARNING,
    ),
    "a helper that does not start": (
        lambda patient: patient.helper.write_text("#!/nowhere/sh\n"),
        "helper-fails",
        ERROR,
    ),
    # credentials
    "a source that fails": (credential(state="failing", last_error="HTTP 503"), "source-failed", ERROR),
    "somebody must sign in": (credential(state="needs-login", last_error="x"), "needs-login", ERROR),
    "a stale token": (credential(state="stale", last_error="HTTP 503"), "credential-stale", WARNING),
    "the daemon warns of a credential": (
        credential(warnings=[{"code": "upstream-refuses", "message": "x"}]),
        "credential-upstream-refuses",
        WARNING,
    ),
    # Claude Code
    "not set up": (lambda patient: patient.user_settings.unlink(), "not-set-up", WARNING),
    "another helper": (helper("/usr/bin/env"), "helper-foreign", WARNING),
    "a project's helper": (
        lambda patient: patient.project_settings({"apiKeyHelper": "echo"}),
        "helper-overridden",
        ERROR,
    ),
    "an administrator's helper": (written(managed, '{"apiKeyHelper": "echo"}'), "helper-overridden", ERROR),
    "our helper is gone": (helper("/nowhere/broker-helper"), "helper-gone", ERROR),
    "our helper by PATH": (helper("broker-helper"), "helper-relative", WARNING),
    "an older installation's helper": (another_installation, "helper-other", WARNING),
    "a credential that is not there": (
        lambda patient: patient.settings(apiKeyHelper=f"{patient.helper} wrok"),
        "helper-unknown-credential",
        ERROR,
    ),
    "a variable names a credential that is not there": (
        variable("BROKER_CREDENTIAL", "wrok"),
        "helper-unknown-credential",
        ERROR,
    ),
    "which credential?": (config(CONFIG + '[credentials.b]\nsource = "demo"\n'), "helper-names-none", ERROR),
    "a stray key in the shell": (variable("ANTHROPIC_API_KEY", "fake-key-1"), "stray-key", ERROR),
    "a stray token in the settings": (user_env("ANTHROPIC_AUTH_TOKEN", "fake-key-1"), "stray-key", ERROR),
    "another provider": (variable("CLAUDE_CODE_USE_BEDROCK", "1"), "provider-wins", WARNING),
    "a key that telemetry takes along": (
        user_env("ANTHROPIC_BASE_URL", "https://llm.example"),
        "telemetry-takes-key",
        WARNING,
    ),
    "a TTL too long": (user_env("CLAUDE_CODE_API_KEY_HELPER_TTL_MS", "3600000"), "ttl-too-long", WARNING),
    "a TTL too short": (user_env("CLAUDE_CODE_API_KEY_HELPER_TTL_MS", "1000"), "ttl-too-short", WARNING),
    "a TTL that is none": (variable("CLAUDE_CODE_API_KEY_HELPER_TTL_MS", "5m"), "ttl-malformed", WARNING),
    # guard
    "requests go elsewhere": (
        user_env("ANTHROPIC_BASE_URL", "https://llm.example"),
        "audience-mismatch",
        ERROR,
    ),
    "a project steers": (
        lambda patient: patient.project_settings({"env": {"HTTPS_PROXY": "http://x"}}),
        "settings-refused",
        ERROR,
    ),
    "a project's file cannot be read": (
        lambda patient: (patient.project / ".claude").symlink_to(patient.user_settings.parent),
        "settings-unreadable",
        ERROR,
    ),
    "requests in the clear": (user_env("ANTHROPIC_BASE_URL", "http://llm.example"), "cleartext", WARNING),
    "what was allowed is broken": (
        without_daemon(written(lambda patient: patient.state / "allowed.json", "{")),
        "allowed-broken",
        WARNING,
    ),
    "a Claude Code that strangers can steer": (old_claude, "unattended-trust", NOTICE),
    "a working folder that is gone": (
        lambda patient: patient.project.rmdir(),
        "settings-unreadable",
        ERROR,
    ),
    "a settings folder named too long": (
        variable("CLAUDE_CONFIG_DIR", "/" + "x" * 5000),
        "settings-unreadable",
        ERROR,
    ),
    # storage
    "nothing is kept": (daemon(persist="off"), "nothing-kept", NOTICE),
    "no keyring": (without_daemon(), "nothing-kept", NOTICE),
    "no keyring where one is needed": (
        without_daemon(config(CONFIG + '[daemon]\npersist = "keyring"\n')),
        "keyring-missing",
        ERROR,
    ),
    "a store that is none": (
        without_daemon(written(lambda patient: patient.state / "cache.bin", "x")),
        "storage-unreadable",
        ERROR,
    ),
    "the daemon cannot store": (warned("storage-key"), "storage-key", WARNING),
    "a keyring that does not answer": (without_daemon(silent_keyring), "keyring-silent", ERROR),
    # audit
    "an audit trail that was changed": (
        lambda patient: patient.script.raw.update({"/v1/audit/verify": b'{"lines": 3, "findings": ["line 2"]}'}),
        "audit-altered",
        ERROR,
    ),
    "an audit trail that cannot be written": (warned("audit-failing"), "audit-failing", WARNING),
    "an audit trail that cannot be verified": (
        lambda patient: patient.script.errors.update({"/v1/audit/verify": (503, "storage", "no")}),
        "audit-unverified",
        WARNING,
    ),
    "an audit trail that is a link": (
        without_daemon(lambda patient: (patient.state / "audit.jsonl").symlink_to("/nowhere")),
        "audit-unreadable",
        ERROR,
    ),
    "an audit answer of another version": (
        lambda patient: patient.script.raw.update({"/v1/audit/verify": b'{"lines": "3"}'}),
        "audit-unverified",
        WARNING,
    ),
    # systemd
    "no program that a unit could start": (
        lambda patient: patient.patch.setattr(sys, "executable", "/nowhere/python"),
        "systemd-unknown",
        NOTICE,
    ),
    "a unit of a person's": (systemctl(""), "unit-foreign", WARNING),
    "a unit is missing": (systemctl(""), "unit-missing", WARNING),
    "no manager": (systemctl(""), "no-manager", NOTICE),
    "started too often": (
        systemctl(UNIT.format(active="failed", result="start-limit-hit", stale="no")),
        "unit-start-limit",
        ERROR,
    ),
    "a unit failed": (systemctl(UNIT.format(active="failed", result="exit-code", stale="no")), "unit-failed", ERROR),
    "a unit of an older version": (own_units("older"), "unit-older", WARNING),
    "a unit that was edited": (own_units("edited"), "unit-edited", WARNING),
    "an old unit in use": (systemctl(UNIT.format(active="active", result="", stale="yes")), "unit-stale", WARNING),
    "a unit from elsewhere": (systemctl("FragmentPath=/etc/systemd/user/broker.service"), "unit-elsewhere", WARNING),
    "a socket that is off": (systemctl("LoadState=loaded\nUnitFileState=disabled"), "unit-disabled", NOTICE),
    "no lingering": (
        lambda patient: (systemctl("LoadState=loaded")(patient), patient.program("loginctl", "echo no")),
        "no-linger",
        NOTICE,
    ),
    "the shell leads elsewhere than the service": (
        lambda patient: (systemctl("")(patient), patient.env.update(BROKER_SOCKET=str(patient.socket))),
        "places-not-service",
        WARNING,
    ),
    # files
    "a state folder that cannot be written": (read_only_state, "state-read-only", ERROR),
    "others can enter the state folder": (mode(lambda patient: patient.state, 0o755), "state-unsafe", ERROR),
    "the state folder is a file": (
        without_daemon(state_is_a_file),
        "state-unsafe",
        ERROR,
    ),
    "others can read the state": (
        lambda patient: (patient.state / "broker.log").touch(mode=0o644),
        "state-open",
        WARNING,
    ),
    "a link in the state folder": (
        lambda patient: (patient.state / "broker.log").symlink_to("/nowhere"),
        "state-foreign",
        ERROR,
    ),
    "others can write the helper": (mode(lambda patient: patient.helper, 0o777), "program-writable", ERROR),
    "others can write the settings": (mode(lambda patient: patient.user_settings, 0o666), "settings-writable", ERROR),
    "others can replace the config": (mode(lambda patient: patient.config.parent, 0o777), "folder-writable", ERROR),
    # clock
    "an absurd clock": (lambda patient: patient.clock.append(0.0), "clock-wrong", ERROR),
    "a clock that nobody could read": (lambda patient: patient.clock.append(1e20), "clock-wrong", ERROR),
    "a clock far behind": (far_ahead, "clock-behind", WARNING),
    "a clock set back": (set_back, "clock-jumped", WARNING),
    "no time server": (
        lambda patient: patient.program("timedatectl", "echo no"),
        "clock-unsynchronised",
        NOTICE,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, patient: Patient) -> None:
    """It is named with what, why and how to mend it, and the exit code says how bad it is."""
    plant, code, severity = FAULTS[fault]
    plant(patient)
    report = patient.examine()
    codes = [finding.code for _, finding in report.findings]
    assert code in codes
    found = report.findings[codes.index(code)][1]
    assert found.severity == severity
    assert all((found.what, found.why, found.mend))
    assert report.exit_code >= {NOTICE: 0, WARNING: 1, ERROR: 2}[severity]
    assert not {"check-failed", "check-hangs"} & set(codes)


@pytest.mark.parametrize(
    ("said", "without", "code"),
    [
        ({"persist": "off"}, "nothing-kept", "nothing-kept"),
        (
            {
                "persist": "keyring",
                "warnings": [
                    {"code": "storage-key", "message": f"{os_keyring.NONE}; install one; then: broker unlock"}
                ],
            },
            "storage-key",
            "keyring-elsewhere",
        ),
    ],
)
def test_a_daemon_that_was_started_outside_the_desktop_session_is_to_be_restarted(
    said: dict[str, object], without: str, code: str, patient: Patient
) -> None:
    """By ssh or cron, without a message bus: there is nothing to install where this session reaches the keyring."""
    daemon(**said)(patient)
    assert patient.found(without).mend != "broker restart"
    keyring(patient)
    assert patient.found(code).mend == "broker restart"
