"""A real daemon with Google credentials, at the fake Google (tests/fakes/google.py)."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from tests.fakes.google import ACCOUNT, CLIENT_ID, CLIENT_SECRET, PERSON, FakeGoogle, fake_google
from tests.fakes.handed_key import hand_key
from tests.real.installed import BIN, BROKER, Place, running
from tests.real.process import DEADLINE_S, coverage_env, wait_until

pytestmark = pytest.mark.real

CLIENTS: Final = 100


@pytest.fixture
def google() -> Iterator[FakeGoogle]:
    """Run a Google of the test's own."""
    with fake_google() as google:
        yield google


def configure(place: Place, google: FakeGoogle) -> dict[str, str]:
    """Write a config with a service account's key and a person's sign-in; return the daemon's own environment."""
    key = place.folder / "key.json"
    key.write_text(json.dumps(google.service_account(), indent=2))
    key.chmod(0o600)
    apis = ", ".join(f'{name} = "{address}"' for name, address in google.apis().items())
    place.configure(f"""
[sources.robot]
type = "gcp"
credentials = {{ file = "{key}" }}

[credentials.vertex]
source = "robot"

[sources.me]
type = "gcp"
sign_in = {{ client_id = "{CLIENT_ID}", client_secret = {{ env = "FAKE_CLIENT_SECRET" }} }}
api_endpoints = {{ {apis} }}

[credentials.mine]
source = "me"
""")
    return hand_key(place.folder) | {"FAKE_CLIENT_SECRET": CLIENT_SECRET}


def typed(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed `broker`."""
    env = place.env | {"HOME": str(place.folder), "PATH": f"{BIN}:/usr/bin:/bin"} | coverage_env()
    return subprocess.run(
        [str(BROKER), *arguments], env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


def sign_in(place: Place, google: FakeGoogle) -> None:
    """Type `broker login me`, and be the browser that opens what it prints."""
    said = place.folder / "said"
    env = place.env | {"HOME": str(place.folder), "PATH": f"{BIN}:/usr/bin:/bin"} | coverage_env()
    with said.open("w") as output:
        process = subprocess.Popen(
            [str(BROKER), "login", "me", "--no-browser"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: "Waiting for" in said.read_text() or process.poll() is not None, "an address is printed")
        found = re.search(r"http\S+/o/oauth2/v2/auth\S+", said.read_text())
        assert found is not None, said.read_text()
        with urllib.request.urlopen(google.sign_in(found[0])) as page:  # noqa: S310  # a page of the loopback
            assert page.status == 200
        assert process.wait(DEADLINE_S) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()


def test_a_hundred_cold_clients_are_one_exchange_and_a_sign_in_outlasts_the_daemon(
    place: Place, google: FakeGoogle
) -> None:
    """With a key in a file, and with a refresh token that is nowhere in the clear."""
    env = configure(place, google)
    with running(place, env=env), ThreadPoolExecutor(CLIENTS) as crowd:
        google.gate.clear()
        asking = [crowd.submit(place.call, "GET", "/v1/token?credential=vertex") for _ in range(CLIENTS)]
        wait_until(lambda: google.calls["/token"] > 0, "Google is asked")
        google.gate.set()
        answers = {one.result(DEADLINE_S) for one in asking}
        assert len(answers) == 1
        status, token = answers.pop()
        assert (status, google.tokens[token.decode()].who) == (200, ACCOUNT)
        assert google.calls["/token"] == 1
        refused = typed(place, "token", "mine")
        assert (refused.returncode, refused.stdout) == (77, "")
        assert "run: broker login me" in refused.stderr
        sign_in(place, google)
        assert google.tokens[typed(place, "token", "mine").stdout.strip()].who == PERSON
        assert place.credential("mine")["details"]["email"] == PERSON
    kept = [file.read_bytes() for file in (place.folder / "state").rglob("*") if file.is_file()]
    assert kept
    assert not any(b"fake-refresh" in content for content in kept)
    with running(place, env=env):
        status, _ = place.call("POST", "/v1/refresh", {"credential": "mine"})
        assert status == 200
        assert google.tokens[typed(place, "token", "mine").stdout.strip()].who == PERSON
        assert typed(place, "logout", "me").returncode == 0
        assert not google.refresh_tokens
        assert "fake-" not in (place.folder / "daemon.stderr").read_text()
