"""The `aws` source in the installed daemon, against servers and clients that nobody here wrote: moto and botocore."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.aws import FakeAws, fake_aws
from tests.real.conftest import Need
from tests.real.installed import HELPER, Place, a_place, running
from tests.real.moto import KEY_ID, PROGRAM, REGION, SECRET_KEY, Moto, moto_server
from tests.real.process import wait_until

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROLE = "arn:aws:iam::222222222222:role/claude"
HUB = "arn:aws:iam::111111111111:role/hub"
COLD = 100

KEYS = f"""
type = "aws"
access_key_id = "{KEY_ID}"
secret_access_key = {{ env = "FAKE_SECRET_KEY" }}
region = "{REGION}"
endpoint_url = "ADDRESS"
"""
CONFIG = f"""
[sources.user]
{KEYS}
[sources.session]
{KEYS}
get_session_token = true
[sources.role]
{KEYS}
role_arn = "{ROLE}"
[sources.roles]
{KEYS}
via = [{{ role_arn = "{HUB}" }}]
role_arn = "{ROLE}"
[sources.web]
type = "aws"
web_identity_token = {{ credential = "jwt" }}
role_arn = "{ROLE}"
endpoint_url = "ADDRESS"

[credentials.jwt]
source = "env"
name = "FAKE_JWT"
[credentials.user]
source = "user"
[credentials.session]
source = "session"
[credentials.role]
source = "role"
[credentials.roles]
source = "roles"
[credentials.web]
source = "web"
[credentials.key]
source = "role"
kind = "bedrock-api-key"
[credentials.secret]
source = "role"
kind = "secretsmanager"
secret_id = "claude"
field = "key"
max_age = "1s"
min_validity = "1s"
[credentials.parameter]
source = "role"
kind = "ssm"
parameter = "/claude"
"""
ENV = {"FAKE_SECRET_KEY": SECRET_KEY, "FAKE_JWT": "fake.jwt.one", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def moto(need: Need) -> Iterator[Moto]:
    """A server with a secret and a parameter."""
    need(PROGRAM.exists(), f"{PROGRAM} is missing")
    with moto_server() as server:
        owner = server.role(ROLE)  # they belong to that account
        server.client("secretsmanager", owner).create_secret(Name="claude", SecretString='{"key": "fake-token-1"}')
        server.client("ssm", owner).put_parameter(Name="/claude", Value="fake-token-ssm", Type="SecureString")
        yield server


@pytest.fixture(scope="module")
def served(need: Need, moto: Moto) -> Iterator[Place]:
    """Run a daemon with a source of every sort."""
    need(HELPER.exists(), f"{HELPER} is missing")
    with a_place() as place:
        place.configure(CONFIG.replace("ADDRESS", moto.address))
        with running(place, env=ENV):
            yield place


def handed_out(place: Place, name: str) -> dict[str, Any]:
    """Ask for a credential with all its parts."""
    status, body = place.call("GET", f"/v1/credentials/{name}")
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


@pytest.mark.parametrize("name", ["user", "session", "role", "roles", "web"])
def test_keys_are_whose_they_say(served: Place, moto: Moto, name: str) -> None:
    """By the word of the server that issued them, asked by botocore."""
    keys = handed_out(served, name)
    assert keys["arn"] == moto.whose(keys)
    assert keys["kind"] == "aws-session"
    if name in {"role", "roles", "web"}:
        assert (keys["account_id"], keys["role"]) == ("222222222222", "claude")
        assert keys["expires_at"] is not None


def test_a_bedrock_key_a_secret_and_a_parameter_come_from_the_same_session(served: Place) -> None:
    """Each as the helper prints it."""
    assert served.ask("key", env={"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": REGION}).stdout.startswith(
        "bedrock-api-key-"
    )
    assert served.ask("secret").stdout == "fake-token-1\n"
    assert served.ask("parameter").stdout == "fake-token-ssm\n"


def test_a_rotated_secret_is_noticed(served: Place, moto: Moto) -> None:
    """When it is as old as `max_age` says."""
    served.ask("secret")
    owner = moto.client("secretsmanager", moto.role(ROLE))
    owner.put_secret_value(SecretId="claude", SecretString='{"key": "fake-token-2"}')
    wait_until(lambda: served.ask("secret").stdout == "fake-token-2\n", "the new version is handed out", poll_s=0.2)


def test_status_and_audit_name_the_role(served: Place) -> None:
    """Who got which; and no part of a key is in either."""
    keys = handed_out(served, "role")
    details = served.credential("role")["details"]
    assert (details["account_id"], details["role"], details["region"]) == ("222222222222", "claude", REGION)
    trail = served.folder / "state" / "audit.jsonl"
    wait_until(lambda: keys["arn"] in trail.read_text(), "the role is in the audit trail")
    shown = trail.read_text() + json.dumps(served.credential("role")) + (served.folder / "daemon.stderr").read_text()
    assert not [name for name in ("access_key_id", "secret_access_key", "session_token") if keys[name] in shown]


@pytest.fixture
def counting() -> Iterator[FakeAws]:
    """An STS that counts."""
    with fake_aws() as aws:
        yield aws


def test_a_hundred_cold_consumers_of_a_role_cost_one_call(need: Need, counting: FakeAws) -> None:
    """All at once, as twenty sessions of Claude Code with their tools may be; STS limits an account's rate."""
    need(HELPER.exists(), f"{HELPER} is missing")
    names = ["role", "key", "role2", "key2"]
    credentials = "".join(
        f'[credentials.{name}]\nsource = "role"\nkind = "{"aws-session" if "role" in name else "bedrock-api-key"}"\n'
        for name in names
    )
    with a_place() as place:
        place.configure(
            f'[sources.role]\n{KEYS}\nrole_arn = "{ROLE}"\n{credentials}'.replace("ADDRESS", counting.address)
        )
        with running(place, env=ENV), ThreadPoolExecutor(COLD) as pool:
            asked = list(pool.map(lambda number: handed_out(place, names[number % 4]), range(COLD)))
    assert {one["credential"] for one in asked} == set(names)
    assert counting.calls == {"AssumeRole": 1}
