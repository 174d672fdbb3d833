"""What a developer whose key lies in OpenBao can rely on, with its own command as the source."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.real.conftest import Need
from tests.real.installed import Daemon, Place, running
from tests.real.openbao import BAO, ROOT_TOKEN, OpenBao, openbao

pytestmark = pytest.mark.real

ARGV = json.dumps([str(BAO), "kv", "get", "-field=api_key", "secret/claude"])


@pytest.fixture
def bao(need: Need, place: Place) -> Iterator[OpenBao]:
    """A server that holds one key."""
    need(BAO.exists(), f"{BAO} is missing")
    with openbao(place.folder) as started:
        started.put("secret/claude", api_key="fake-token-1")
        yield started


@pytest.fixture
def daemon(place: Place, bao: OpenBao) -> Iterator[Daemon]:
    """A daemon that gets the key by `bao kv get`."""
    place.configure(f"""
[sources.bao]
type = "command"
env = ["BAO_ADDR", "BAO_TOKEN"]

[credentials.work]
source = "bao"
argv = {ARGV}
""")
    with running(place, env=bao.env) as started:
        yield started


@pytest.mark.usefixtures("daemon")
def test_the_key_is_served(place: Place) -> None:
    """What `bao kv get` prints is the token."""
    assert place.ask("work").stdout == "fake-token-1\n"


@pytest.mark.usefixtures("daemon")
def test_a_rotated_key_is_served_after_a_refresh(place: Place, bao: OpenBao) -> None:
    """The administrator replaces the key; a refresh brings the new one."""
    assert place.ask("work").stdout == "fake-token-1\n"
    bao.put("secret/claude", api_key="fake-token-2")
    assert place.call("POST", "/v1/refresh", {"credential": "work"})[0] == 200
    assert place.ask("work").stdout == "fake-token-2\n"


@pytest.mark.usefixtures("daemon")
def test_a_server_that_went_away_is_not_noticed_while_the_key_is_good(place: Place, bao: OpenBao) -> None:
    """The failed refresh shows in the status, and the key in hand goes on being served."""
    assert place.ask("work").stdout == "fake-token-1\n"
    bao.stop()
    place.call("POST", "/v1/refresh", {"credential": "work"})
    assert place.ask("work").stdout == "fake-token-1\n"
    credential = place.credential("work")
    assert (credential["state"], credential["failures"]) == ("stale", 1)
    assert credential["last_error"]


@pytest.mark.usefixtures("daemon")
def test_a_refused_read_says_why_and_shows_no_secret(place: Place, bao: OpenBao) -> None:
    """OpenBao's own reason reaches the developer, and the token that was used to ask does not."""
    assert bao.run("kv", "metadata", "delete", "secret/claude").returncode == 0
    asked = place.ask("work")
    assert asked.returncode != 0
    assert asked.stdout == ""
    assert "secret/data/claude" in asked.stderr
    assert ROOT_TOKEN not in asked.stderr
