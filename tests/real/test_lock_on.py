"""`lock_on`: the daemon locks when the machine goes to sleep or the screen is locked, if the config says so."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator

import pytest
from jeepney import DBusAddress, HeaderFields, message_bus, new_signal
from jeepney.io.blocking import open_dbus_connection
from jeepney.wrappers import unwrap_msg

from tests.real.installed import Daemon, Place, running
from tests.real.logind import ROOT, FakeLogind, bus, fake_logind
from tests.real.process import wait_until

pytestmark = pytest.mark.real

CONFIG = """
[daemon]
lock_on = {events}
persist = "off"
[credentials.work]
source = "demo"
lifetime = "1h"
"""


@pytest.fixture
def logind(need_program: Callable[[str], str]) -> Iterator[FakeLogind]:
    """Run a make-believe logind."""
    need_program("dbus-daemon")
    with bus() as address, fake_logind(address) as started:
        yield started


@pytest.fixture
def daemon(place: Place, logind: FakeLogind) -> Iterator[Daemon]:
    """Run a daemon that locks on both, and listens already."""
    place.configure(CONFIG.format(events='["suspend", "screen-lock"]'))
    with running(place, env={"DBUS_SYSTEM_BUS_ADDRESS": logind.address}) as started:
        wait_until(lambda: bool(logind.inhibited), "it holds up the next suspend")
        assert place.call("GET", "/v1/token")[0] == 200
        yield started


def locked(place: Place) -> bool:
    """Whether the daemon says that it is locked."""
    return json.loads(place.call("GET", "/v1/status")[1])["daemon"]["locked"] is True


@pytest.mark.usefixtures("daemon")
def test_it_locks_before_the_machine_sleeps(place: Place, logind: FakeLogind) -> None:
    """The suspend waits until nothing secret is in memory, and no longer; the next one waits again."""
    assert logind.waits_for_us()
    logind.sleep(starts=True)
    wait_until(lambda: not logind.waits_for_us(), "the suspend may go on")
    assert locked(place)
    assert place.call("GET", "/v1/token")[0] == 423
    logind.sleep(starts=False)
    wait_until(lambda: len(logind.inhibited) == 2, "it holds up the next one")
    assert locked(place), "waking up is no proof of who sits there"
    assert place.call("POST", "/v1/unlock", {})[0] == 200
    assert place.call("GET", "/v1/token")[0] == 200


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize("how", ["loginctl lock-session", "the desktop"])
def test_it_locks_with_the_screen(place: Place, logind: FakeLogind, how: str) -> None:
    """Of this user; another user's screen is not its business, nor is one that is unlocked."""
    logind.uids["other"] = 4242
    logind.lock_session("other")
    logind.hint("other", locked=True)
    logind.hint("mine", locked=False)
    wait_until(lambda: logind.asked.count("Get") == 2, "it has looked at whose sessions these are")
    assert not locked(place)
    if how == "the desktop":
        logind.hint("mine", locked=True)
    else:
        logind.lock_session("mine")
    wait_until(lambda: locked(place), "it is locked")


@pytest.mark.usefixtures("daemon")
def test_only_logind_is_believed(place: Place, logind: FakeLogind) -> None:
    """On the system bus every user may send a signal straight to the daemon: nobody else can lock it so."""
    with open_dbus_connection(bus=logind.address) as stranger:
        (names,) = unwrap_msg(stranger.send_and_get_reply(message_bus.ListNames()))
        for name in names:
            if name.startswith(":"):
                forged = new_signal(
                    DBusAddress(ROOT, interface="org.freedesktop.login1.Manager"), "PrepareForSleep", "b", (True,)
                )
                forged.header.fields[HeaderFields.destination] = name
                stranger.send(forged)
        unwrap_msg(stranger.send_and_get_reply(message_bus.GetId()))
    logind.uids["other"] = 4242
    logind.lock_session("other")
    wait_until(lambda: "Get" in logind.asked, "it has heard what came after the forged one")
    assert not locked(place)


def test_a_reload_changes_what_locks(place: Place, logind: FakeLogind) -> None:
    """Off by default; from the reload on it listens, or no longer does."""
    place.configure(CONFIG.format(events="[]"))
    with running(place, env={"DBUS_SYSTEM_BUS_ADDRESS": logind.address}) as daemon:
        place.configure(CONFIG.format(events='["suspend"]'))
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: bool(logind.inhibited), "it listens")
        place.configure(CONFIG.format(events="[]"))
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not logind.waits_for_us(), "it listens no longer")
        logind.sleep(starts=True)
        assert not locked(place)


def test_without_logind_it_serves_and_says_what_does_not_work(place: Place) -> None:
    """A setting that promises protection must not be ignored in silence."""
    place.configure(CONFIG.format(events='["suspend"]'))
    with running(place, env={"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"}):
        assert place.call("GET", "/v1/token")[0] == 200

        def codes() -> list[str]:
            return [found["code"] for found in json.loads(place.call("GET", "/v1/status")[1])["daemon"]["warnings"]]

        wait_until(lambda: "lock-on-deaf" in codes(), "the status says so")


def test_where_a_delay_is_not_allowed_it_locks_all_the_same(place: Place, logind: FakeLogind) -> None:
    """As quickly as it can."""
    logind.allows_delay = False
    place.configure(CONFIG.format(events='["suspend"]'))
    with running(place, env={"DBUS_SYSTEM_BUS_ADDRESS": logind.address}):
        wait_until(lambda: "Inhibit" in logind.asked, "it listens")
        logind.sleep(starts=True)
        wait_until(lambda: locked(place), "it is locked")
