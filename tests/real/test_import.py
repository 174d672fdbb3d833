"""A ProxyCast file of every feature, carried over while the daemon runs, and served by it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.aws import FakeAws, fake_aws
from tests.fakes.handed_key import hand_key
from tests.real.claude import Answer
from tests.real.conftest import Developer
from tests.real.installed import BROKER, HELPER, Place, running
from tests.real.process import DEADLINE_S, coverage_env
from tests.real.upstream import ANSWER, Upstream
from tests.setup_claude_code import NEWER

pytestmark = pytest.mark.real

USER = "AKIAFAKEFAKEFAKE0001"
ROLE = "AKIAFAKEFAKEFAKE0002"
PROXYCAST = """
# the old key was fake-comment-key
claude-custom:
  api_version: "2023-06-01"
  headers: {{X-Custom-Header: "fake-header"}}
  timeout: {{connect: 10s, request: 180s}}   # Claude may be slow
providers:
  - name: anthropic-official
    type: claude-custom
    api_key: "fake-official-key"
  - name: claude proxy
    type: claude-custom
    api_key: "{one}"
    base_url: "{url}"
  - name: claude-proxy-2
    type: claude-custom
    api_key: "{two}"
    base_url: "{url}/"
bedrock-claude:
  type: claude-custom
  aws_region: "us-east-1"
  aws_access_key: "AKIAFAKEFAKEFAKE0001"
  aws_secret_key: "fake/aws/secret"
  model_id: "anthropic.claude-3-sonnet-20240229-v1:0"
bedrock-role:
  type: claude-custom
  aws_region: eu-central-1
"""


@pytest.fixture
def env(place: Place) -> dict[str, str]:
    """Give the store a key, as a service manager does; and the machine a role of AWS's."""
    role = {"AWS_ACCESS_KEY_ID": ROLE, "AWS_SECRET_ACCESS_KEY": "fake-role-secret"}
    return hand_key(place.folder) | role


@pytest.fixture
def sts() -> Iterator[FakeAws]:
    """Give an AWS that knows the file's keys, and those of the machine's role."""
    with fake_aws() as made:
        made.callers = {USER: "arn:aws:iam::111111111111:user/me", ROLE: "arn:aws:iam::111111111111:user/machine"}
        yield made


def import_(place: Place, env: dict[str, str], file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `broker import proxycast`."""
    return subprocess.run(
        [str(BROKER), "import", "proxycast", str(file), *options],
        env=place.env | env | coverage_env() | {"HOME": str(place.folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_every_feature_of_a_proxycast_file_is_served(
    place: Place, env: dict[str, str], developer: Developer, upstream: Upstream, sts: FakeAws
) -> None:
    """Real Claude Code goes on with the imported keys as one pool, past the end of one; no key is in our config."""
    one, two = (upstream.mint.mint().text for _ in range(2))
    file = place.folder / "providers.yaml"
    file.write_text(PROXYCAST.format(one=one, two=two, url=upstream.url))
    place.configure('[credentials.mine]\nsource = "demo"  # kept\n')
    with running(place, env=env | {"AWS_ENDPOINT_URL": sts.address}):
        done = import_(place, env, file, "--yes", "--pool", "keys")
        assert (done.returncode, done.stderr) == (0, "")
        config = place.config.read_text()
        for secret in (one, two, "fake-official-key", "fake/aws/secret", "fake-comment-key", "fake-header"):
            assert secret not in config + done.stdout
        assert 'source = "demo"  # kept' in config
        assert [place.ask(name).stdout.strip() for name in ("anthropic-official", "claude-proxy", "mine")][:2] == [
            "fake-official-key",
            one,
        ]
        assert aws(place, "bedrock-claude") == ("ASIAFAKE000000000001", "fake-secret-key-1", "us-east-1")
        assert sts.last("GetSessionToken")["key_id"] == USER
        assert aws(place, "bedrock-role") == (ROLE, "fake-role-secret", "eu-central-1")
        with developer(NEWER, settings={"apiKeyHelper": f"{HELPER} keys"}).session() as session:
            assert session.ask("say pong") == Answer(ANSWER, failed=False)
            upstream.mint.revoke(one)
            assert session.ask("say pong") == Answer(ANSWER, failed=False)
    assert [seen.key for seen in upstream.seen if seen.status == 200] == [one, two]


def aws(place: Place, name: str) -> tuple[str, str, str]:
    """Return the keys and the region of an AWS credential."""
    status, body = place.call("GET", f"/v1/credentials/{name}")
    assert status == 200, body
    found = json.loads(body)
    return found["access_key_id"], found["secret_access_key"], found["region"]
