"""`broker login` for an AWS source with `sso`: a real daemon, the real AWS CLI, and an Identity Center of our own."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.json_server import Answer, Asked
from tests.fakes.sso import ACCOUNT, REGION, ROLE, START_URL, USER_CODE, FakeSso, fake_sso, moment, written
from tests.real.conftest import Need
from tests.real.installed import BIN, BROKER, Daemon, Place, running
from tests.real.process import DEADLINE_S, terminate, wait_until
from tests.setup_tools import program

pytestmark = [pytest.mark.real, pytest.mark.slow]

AWS: Final = program("aws")
ROLES: Final = (ROLE, "Auditor", "Latecomer")
SESSIONS: Final = 20


@pytest.fixture
def sso() -> Iterator[FakeSso]:
    """Give an Identity Center at which nobody has confirmed anything yet."""
    with fake_sso() as made:
        made.roles = {(ACCOUNT, role) for role in ROLES}
        yield made


@pytest.fixture
def at(place: Place, sso: FakeSso) -> Place:
    """Configure a source for each role, and the AWS CLI's profile for the first."""
    sources = [
        f"""
[sources.{role.lower()}]
type = "aws"
region = "us-east-1"
endpoint_url = "{sso.url}"
sso = {{ start_url = "{START_URL}", region = "{REGION}", account_id = "{ACCOUNT}", role_name = "{role}" }}

[credentials.{role.lower()}]
source = "{role.lower()}"
"""
        for role in ROLES
    ]
    place.configure("\n".join([*sources, '[daemon]\npersist = "off"\n']))
    (place.folder / ".aws").mkdir()
    (place.folder / ".aws/config").write_text(
        f"[sso-session corp]\nsso_start_url = {START_URL}\nsso_region = {REGION}\n"
        "sso_registration_scopes = sso:account:access\n"
        f"[profile me]\nsso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = {ROLE}\n"
    )
    return place


# --- the person -------------------------------------------------------------------------------------------------


class Tabs:
    """A browser that only notes what it is to open."""

    def __init__(self, folder: Path) -> None:
        self._noted = folder / "tabs"
        self.program = folder / "browser"
        self.program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >> {self._noted}\n')
        self.program.chmod(0o700)

    @property
    def opened(self) -> list[str]:
        return self._noted.read_text().split() if self._noted.exists() else []


@contextmanager
def typed(place: Place, line: str, tabs: Tabs, name: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command until the block ends; what it says is in the file of that name."""
    env = place.env | {"HOME": str(place.folder), "PATH": f"{BIN}:/usr/bin:/bin", "BROWSER": str(tabs.program)}
    with (place.folder / name).open("w") as said:
        process = subprocess.Popen(
            [str(BROKER), *line.split()], env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, text=True
        )
    try:
        yield process
    finally:
        terminate(process)


def keys(place: Place, credential: str) -> tuple[int, dict[str, Any]]:
    """Ask the daemon for a session; return status and answer."""
    status, body = place.call("GET", f"/v1/credentials/{credential}")
    return status, json.loads(body) if status == 200 else {"said": body.decode()}


def aws_cli(place: Place, sso: FakeSso) -> None:
    """Have the AWS CLI get its profile's keys, which it shows the ends of, by the sign-in that it finds."""
    shutil.rmtree(place.folder / ".aws/cli", ignore_errors=True)  # the keys that it got last time
    env = {"HOME": str(place.folder), "PATH": "/usr/bin:/bin", "AWS_ENDPOINT_URL": sso.url, "AWS_REGION": "us-east-1"}
    asked = sso.calls["GetRoleCredentials"]
    line = [str(AWS), "configure", "list", "--profile", "me"]
    done = subprocess.run(
        line, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sso.calls["GetRoleCredentials"] == asked + 1
    assert re.search(r"access_key +\*+[0-9]{4} +sso", done.stdout), done.stdout


def token_of(place: Place, **changed: str) -> dict[str, str]:
    """Read the one sign-in that is kept, after changing some of it."""
    (file,) = (place.folder / ".aws/sso/cache").glob("*.json")
    document: dict[str, str] = json.loads(file.read_text()) | changed
    if changed:
        file.write_text(json.dumps(document))
    return document


def test_one_sign_in_in_one_tab_serves_twenty_sessions_and_the_aws_cli(need: Need, at: Place, sso: FakeSso) -> None:
    """And the other way round: what the AWS CLI has refreshed, the broker uses."""
    need(AWS.exists(), f"{AWS} is missing; run: python3 -m tests --setup")
    tabs = Tabs(at.folder)
    with running(at), ThreadPoolExecutor(SESSIONS) as pool:
        status, said = keys(at, "developer")
        assert (status, "run: broker login developer" in said["said"]) == (401, True)

        # Two people's hands, or two scripts', at once: one code, one tab; both are told how it ended.
        with (
            typed(at, "login developer --device", tabs, "first") as first,
            typed(at, "login developer --device", tabs, "second") as second,
        ):
            texts = [at.folder / "first", at.folder / "second"]
            wait_until(lambda: all(USER_CODE in text.read_text() for text in texts), "both show the code")
            sso.confirmed = True
            assert (first.wait(DEADLINE_S), second.wait(DEADLINE_S)) == (0, 0)
        assert sorted("under way already" in text.read_text() for text in texts) == [False, True]
        wait_until(lambda: bool(tabs.opened), "the browser is opened")
        assert len(tabs.opened) == 1
        assert (sso.calls["StartDeviceAuthorization"], len(sso.tokens)) == (1, 1)

        # The other source at the same start URL needs no sign-in of its own.
        wait_until(lambda: keys(at, "auditor")[0] == 200, "the other source is served too")
        names = ["developer", "auditor"] * (SESSIONS // 2)
        answers = list(pool.map(lambda name: keys(at, name), names))
        assert {status for status, _ in answers} == {200}
        assert len({answer["session_token"] for _, answer in answers}) == 2
        assert sso.calls["GetRoleCredentials"] == 2
        assert len(sso.tokens) == 1

        # The AWS CLI has it too, and refreshes it; the broker goes on with what that got.
        aws_cli(at, sso)
        assert len(sso.tokens) == 1
        token_of(at, expiresAt=moment(time.time() + 300))
        aws_cli(at, sso)
        assert len(sso.tokens) == 2
        sso.tokens[next(iter(sso.tokens))] = 0.0
        assert keys(at, "latecomer")[0] == 200
        assert (len(sso.tokens), sso.calls["CreateToken"]) == (2, 2)

        # Out, and in again by the browser.
        with typed(at, "logout auditor", tabs, "out") as out:
            assert out.wait(DEADLINE_S) == 0
        assert not written(at.folder)
        with typed(at, "login auditor", tabs, "third") as third:
            wait_until(lambda: len(tabs.opened) == 2, "the browser is opened")
            with urllib.request.urlopen(sso.allow(tabs.opened[-1]), timeout=DEADLINE_S) as page:  # noqa: S310  # the loopback
                assert page.status == 200
            assert third.wait(DEADLINE_S) == 0
        wait_until(lambda: keys(at, "auditor")[0] == 200, "served again")


def test_a_kill_in_the_middle_of_a_refresh_never_loses_the_sign_in(at: Place, sso: FakeSso) -> None:
    """Whether AWS has made the next token by then or not: the next daemon goes on, and nobody signs in again."""
    sso.sign_in(at.folder, "corp")
    own, caught, go_on = sso.answer, threading.Event(), threading.Event()

    def killed_meanwhile(daemon: Daemon, credential: str, *, answers_first: bool) -> None:
        def held(asked: Asked) -> Answer:
            if asked.path != "/token":
                return own(asked)
            answer = own(asked) if answers_first else Answer(500)
            sso.lock.release()  # others are answered meanwhile
            caught.set()
            go_on.wait(DEADLINE_S)
            sso.lock.acquire()
            return answer

        sso.answer = held  # type: ignore[method-assign]
        sso.expire()
        token_of(at, expiresAt="2020-01-01T00:00:00Z")
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(_quietly, at, credential)
            assert caught.wait(DEADLINE_S)
            daemon.kill()
            asking.result()
        sso.answer = own  # type: ignore[method-assign]
        go_on.set()
        caught.clear()

    with running(at) as daemon:
        killed_meanwhile(daemon, "auditor", answers_first=False)
    go_on.clear()
    with running(at) as daemon:
        assert keys(at, "auditor")[0] == 200
        assert sso.calls["CreateToken"] == 1
        killed_meanwhile(daemon, "developer", answers_first=True)
    with running(at):
        assert keys(at, "developer")[0] == 200
        assert sso.calls["CreateToken"] == 3
    assert not sso.calls["StartDeviceAuthorization"]


def _quietly(place: Place, credential: str) -> None:
    """Ask, and be cut off."""
    with suppress(OSError, http.client.HTTPException):
        keys(place, credential)
