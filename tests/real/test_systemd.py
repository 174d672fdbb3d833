"""What a developer whose daemon is a systemd user service can rely on, under a real user manager."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.real.claude import Answer, Claude
from tests.real.conftest import Developer, Need, minting_config
from tests.real.installed import BROKER, HELPER, Place
from tests.real.process import DEADLINE_S, wait_until
from tests.real.systemd_user import UserManager, give, missing, user_manager
from tests.real.upstream import ANSWER, Upstream
from tests.setup_claude_code import NEWER

pytestmark = pytest.mark.real

PONG = Answer(ANSWER, failed=False)
RESTARTS = 20
CALLERS = 4
ANSWERS_BETWEEN_RESTARTS = 50


@pytest.fixture
def manager(need: Need, place: Place, upstream: Upstream) -> Iterator[UserManager]:
    """A user manager that holds our socket; no daemon runs before somebody asks."""
    lacking = missing()
    need(lacking is None, str(lacking))
    place.folder.chmod(0o755)
    with user_manager(place.folder / "home") as started:
        started.config.parent.mkdir(parents=True)
        started.config.write_text(minting_config(upstream))
        started.config.chmod(0o600)
        give(started.home)
        done = started.setup()
        assert done.returncode == 0, done.stderr
        yield started


@pytest.fixture
def claude(manager: UserManager, developer: Developer) -> Claude:
    """Claude Code inside, started by the user whom the manager serves."""
    outside = developer(NEWER)
    give(outside.folder)
    env = {name: value for name, value in outside.env.items() if not name.startswith("BROKER_")}
    return replace(outside, enter=manager.enter, env=env | {"XDG_RUNTIME_DIR": manager.env["XDG_RUNTIME_DIR"]})


def test_the_first_ask_starts_the_daemon(manager: UserManager, upstream: Upstream) -> None:
    """The socket is there from the sign-in on, private to its user, and costs no process until it is used."""
    assert manager.main_pid() == "0"
    assert manager.run("stat", "--format=%a", "/run/user/1234/broker", "/run/user/1234/broker/broker.sock").stdout == (
        "700\n600\n"
    )
    assert manager.run(str(HELPER), "work").stdout == "fake-token-1\n"
    assert manager.systemctl("is-active", "broker.service") == "active"
    assert upstream.mint.count == 1


def test_a_daemon_killed_between_two_prompts_is_not_noticed(
    manager: UserManager, claude: Claude, upstream: Upstream
) -> None:
    """(g) `kill -9`: the next ask is answered all the same, though the token was revoked meanwhile."""
    with claude.session() as session:
        assert session.ask("say pong") == PONG
        killed = manager.main_pid()
        assert manager.run("kill", "-9", killed).returncode == 0
        upstream.mint.revoke()
        assert session.ask("say pong") == PONG
    assert manager.main_pid() not in {killed, "0"}
    assert upstream.mint.count == 2


def test_what_the_daemon_has_under_way_outlives_its_crash(manager: UserManager) -> None:
    """A child that waits for an answer which comes once (a refresh token's successor) still takes it."""
    began, gate, script = (manager.home / name for name in ("began", "gate", "fetch"))
    script.write_text(f"""#!/bin/sh
        echo $$ >> {began}
        while [ ! -e {gate} ]; do sleep 0.02; done
        touch {manager.home}/ended-$$
        echo fake-token-2""")
    script.chmod(0o755)
    manager.config.write_text(f'[credentials.work]\nsource = "command"\nargv = ["{script}"]\n')
    give(manager.home)
    ask = [*manager.enter, str(HELPER), "work"]
    with subprocess.Popen(ask, env=manager.env, stdout=subprocess.PIPE, text=True) as helper:
        wait_until(lambda: began.exists() and began.read_text().count("\n") == 1, "the command runs")
        assert manager.run("kill", "-9", manager.main_pid()).returncode == 0
        wait_until(lambda: began.read_text().count("\n") == 2, "the next daemon runs it too")
        gate.touch()
        first = manager.home / f"ended-{began.read_text().split()[0]}"
        wait_until(first.exists, "the crashed daemon's command ends by itself")
        assert helper.communicate(timeout=DEADLINE_S)[0] == "fake-token-2\n"


def test_a_daemon_upgraded_between_two_prompts_is_not_noticed(
    manager: UserManager, claude: Claude, upstream: Upstream
) -> None:
    """(g) `systemctl --user restart broker`, as an upgrade does it, changes the process and nothing else."""
    with claude.session() as session:
        assert session.ask("say pong") == PONG
        old = manager.main_pid()
        manager.systemctl("restart", "broker.service")
        upstream.mint.revoke()
        assert session.ask("say pong") == PONG
    assert manager.main_pid() not in {old, "0"}


@pytest.mark.slow
def test_no_helper_fails_over_twenty_restarts_under_load(manager: UserManager) -> None:
    """Connections that arrive while no daemon runs wait in the socket; those in flight are answered first."""
    answered = manager.home / "answered"
    with ExitStack() as stack:
        callers = [stack.enter_context(_calling(manager, answered)) for _ in range(CALLERS)]
        for restart in range(1, RESTARTS + 1):
            manager.systemctl("restart", "broker.service")
            enough = restart * ANSWERS_BETWEEN_RESTARTS
            wait_until(lambda: answered.exists() and answered.stat().st_size >= enough, "the load goes on")  # noqa: B023  # runs now
        (manager.home / "stop").touch()
        failures = [caller.communicate(timeout=DEADLINE_S)[0] for caller in callers]
    assert failures == [""] * CALLERS


def test_a_broken_config_is_told_at_once_and_costs_one_start(manager: UserManager) -> None:
    """The ask that waits in the socket is answered: left there, systemd would start the daemon again and again."""
    good = manager.config.read_text()
    manager.config.write_text("default = \n")
    helper = manager.run(str(HELPER), "work")
    assert (helper.returncode, helper.stdout) == (69, "")
    assert "the config is wrong, so no daemon can start; see: broker config check" in helper.stderr
    wait_until(lambda: manager.show("ActiveState") == "failed", "the start has failed")
    assert manager.show("NRestarts") == "0"
    manager.config.write_text(good)
    assert manager.run(str(HELPER), "work").stdout == "fake-token-1\n"


def test_a_folder_that_others_can_write_is_told_at_once_and_costs_one_start(manager: UserManager) -> None:
    """Starting again would not mend it; mending it is enough."""
    state = manager.home / ".local" / "state" / "broker"
    assert manager.run("mkdir", "-p", str(state)).returncode == 0
    state.chmod(0o777)
    helper = manager.run(str(HELPER), "work")
    assert (helper.returncode, helper.stdout) == (69, "")
    assert f"open to others (mode 0777); run: chmod 700 {state}" in helper.stderr
    wait_until(lambda: manager.show("ActiveState") == "failed", "the start has failed")
    assert manager.show("NRestarts") == "0"
    state.chmod(0o700)
    assert manager.run(str(HELPER), "work").stdout == "fake-token-1\n"


def test_units_that_systemd_gave_up_work_again_as_soon_as_the_cause_is_mended(manager: UserManager) -> None:
    """Enough failing starts in a row, and it refuses more; the next helper has it begin anew all the same."""
    good = manager.config.read_text()
    manager.config.write_text("default = \n")
    manager.drop_in("impatient.conf", "[Unit]\nStartLimitBurst=2\n")
    for _ in range(3):
        assert manager.run("env", "BROKER_AUTOSTART=0", str(HELPER), "work").stdout == ""
    wait_until(lambda: manager.show("Result", "broker.socket") == "service-start-limit-hit", "given up")
    refused = manager.run(str(BROKER), "start")
    assert refused.returncode == 78
    assert refused.stderr == "broker: the daemon refused its config; see: broker config check\n"
    manager.config.write_text(good)
    assert manager.run(str(HELPER), "work").stdout == "fake-token-1\n"


def test_a_daemon_that_hangs_is_replaced(manager: UserManager) -> None:
    """It tells systemd that it is alive; when it stops doing so, the ask that waits is answered by the next one."""
    manager.drop_in("watchdog.conf", "[Service]\nWatchdogSec=2s\n")
    manager.systemctl("start", "broker.service")
    started = manager.show("WatchdogTimestampMonotonic")
    wait_until(lambda: manager.show("WatchdogTimestampMonotonic") != started, "the daemon says that it is alive")
    hung = manager.main_pid()
    assert manager.run("kill", "-STOP", hung).returncode == 0
    patient = ("env", f"BROKER_TIMEOUT_MS={DEADLINE_S * 1000:.0f}")  # systemd takes its time to notice
    assert manager.run(*patient, str(HELPER), "work").stdout == "fake-token-1\n"
    assert manager.main_pid() not in {hung, "0"}


def test_a_reload_takes_the_new_config_and_keeps_the_token(manager: UserManager, upstream: Upstream) -> None:
    """`systemctl --user reload broker`: the same process, the same token, and the new credential beside it."""
    assert manager.run(str(HELPER), "work").stdout == "fake-token-1\n"
    pid = manager.main_pid()
    with manager.config.open("a") as config:
        config.write('[credentials.other]\nsource = "demo"\nlifetime = "1h"\n')
    manager.systemctl("reload", "broker.service")
    wait_until(lambda: manager.run(str(HELPER), "other").stdout.startswith("demo-"), "the new credential is served")
    assert manager.run(str(HELPER), "work").stdout == "fake-token-1\n"
    assert manager.main_pid() == pid
    assert upstream.mint.count == 1


def test_the_units_say_nothing_that_systemd_does_not_know(manager: UserManager) -> None:
    """`systemd-analyze verify` finds no fault with what is installed."""
    for unit in sorted(manager.units.glob("broker.*")):
        checked = manager.run("systemd-analyze", "--user", "verify", str(unit))
        assert checked.returncode == 0, checked.stderr
        assert checked.stderr == ""


def _calling(manager: UserManager, answered: Path) -> subprocess.Popen[str]:
    """Call the helper as fast as it answers until the file `stop` appears.

    Adds one byte to `answered` for every token, and prints every failure.
    """
    helper, stop = shlex.quote(str(HELPER)), shlex.quote(str(manager.home / "stop"))
    loop = f"""
        while [ ! -e {stop} ]; do
            complaint=$({helper} work 2>&1 >/dev/null) && printf . >> {shlex.quote(str(answered))} ||
                echo "exit $?: $complaint"
        done
    """
    return subprocess.Popen(
        [*manager.enter, "sh", "-c", loop],
        env=manager.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
