"""The identity to begin with: where it is looked for, what is no identity, and what a command of a profile gets."""

from __future__ import annotations

import http.server
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from botocore.utils import ContainerMetadataFetcher

from broker.errors import LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.aws import ourselves
from broker.sources.references import Reference
from tests.contracts.source_contract import eventually, failure
from tests.fakes.aws import KEY_ID, USER, FakeAws
from tests.sources.aws.conftest import ROLE, SECRET_KEY, Open

PROCESS_KEY = "AKIAFAKEPROCESSFAKE1"


class Aws:
    """A person's `~/.aws`, written with one profile after the other."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.config = home / ".aws" / "config"

    def profile(self, name: str, **keys: str) -> None:
        """Add a profile."""
        lines = [f"[profile {name}]", *(f"{key} = {value}" for key, value in keys.items())]
        with self.config.open("a") as file:
            file.write("\n".join(lines) + "\n")

    def program(self, name: str, body: str) -> Path:
        """Write a program in Python."""
        made = self.home / name
        made.write_text(f"#!{sys.executable}\n{body}\n")
        made.chmod(0o700)
        return made


@pytest.fixture
def dot_aws(home: Path) -> Aws:
    """A person without profiles."""
    return Aws(home)


PRINTS_KEYS = f"""
import json, os, pathlib
here = pathlib.Path(__file__)
(here.parent / "environment").write_text(json.dumps(dict(os.environ)))
with (here.parent / "runs").open("a") as runs: runs.write("x")
print(json.dumps({{"Version": 1, "AccessKeyId": "{PROCESS_KEY}", "SecretAccessKey": "fake-key", "SessionToken": "fake-token",
    "Expiration": "2100-01-01T00:00:00Z"}}))
"""


async def test_a_profiles_keys_are_found(account: Open, aws: FakeAws, dot_aws: Aws) -> None:
    """And its region; a role of the source's own is assumed by them."""
    dot_aws.profile("corp", aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET_KEY, region="ap-south-1")
    issued = await account(profile="corp", region=None, role_arn=ROLE).fetcher().fetch()
    assert aws.last("AssumeRole")["key_id"] == KEY_ID
    assert issued.details["region"] == "ap-south-1"


async def test_keys_of_the_daemons_environment_are_found(
    account: Open, aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no profile is named, as by the AWS CLI."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    assert (await account(found=True).fetcher().fetch()).details["arn"] == USER
    assert aws.calls == {"GetCallerIdentity": 1}


async def test_a_profiles_roles_are_assumed_as_the_aws_cli_would(account: Open, aws: FakeAws, dot_aws: Aws) -> None:
    """By its `source_profile`; each fetch assumes anew, so that what is handed out has its whole life before it."""
    dot_aws.profile("base", aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET_KEY)
    dot_aws.profile("corp", role_arn=ROLE, source_profile="base", external_id="fake-id", duration_seconds="900")
    fetcher = account(profile="corp").fetcher()
    issued = await fetcher.fetch()
    assert issued.expires_at == pytest.approx(time.time() + 900, abs=2)
    assert (issued.details["role"], aws.last("AssumeRole")["ExternalId"]) == ("claude", "fake-id")
    assert aws.calls == {"AssumeRole": 1}, "whose it is stands in the answer"
    fetcher.renounce()  # type: ignore[union-attr]  # a session's
    await fetcher.fetch()
    assert aws.calls["AssumeRole"] == 2


async def test_a_profile_that_wants_mfa_gets_the_code_of_the_source(account: Open, aws: FakeAws, dot_aws: Aws) -> None:
    """Nobody is asked on a terminal that the daemon does not have."""
    dot_aws.profile("base", aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET_KEY)
    serial = "arn:aws:iam::111111111111:mfa/me"
    dot_aws.profile("corp", role_arn=ROLE, source_profile="base", mfa_serial=serial)
    assert "set `mfa_code` of the source" in str(await failure(account(profile="corp").fetcher()))
    made = account(profile="corp", mfa_code=Reference(local="code"))
    made.context.secrets.records["code"] = Secret("123456")
    await made.fetcher().fetch()
    assert (aws.last("AssumeRole")["SerialNumber"], aws.last("AssumeRole")["TokenCode"]) == (serial, "123456")


async def test_a_profiles_command_runs_by_our_rules(
    account: Open, aws: FakeAws, dot_aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of `AWS_*` nor a secret is in its environment; and keys with a short life do not run it twice."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "fake-stale-token")
    monkeypatch.setenv("FAKE_SECRET", "fake-secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    aws.callers[PROCESS_KEY] = USER
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    program = dot_aws.program("print-keys", PRINTS_KEYS.replace("2100-01-01T00:00:00Z", soon))
    dot_aws.profile("corp", credential_process=str(program))
    issued = await account(profile="corp").fetcher().fetch()
    assert issued.parts["access_key_id"].reveal() == PROCESS_KEY
    assert issued.expires_at == pytest.approx(time.time() + 60, abs=3)
    environment = json.loads((dot_aws.home / "environment").read_text())
    assert not [name for name in environment if name.startswith(("AWS_", "FAKE_"))]
    assert environment["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert (dot_aws.home / "runs").read_text() == "x"


async def test_a_profiles_command_may_print_keys_without_an_end(account: Open, aws: FakeAws, dot_aws: Aws) -> None:
    """Then nobody knows one."""
    aws.callers[PROCESS_KEY] = USER
    body = PRINTS_KEYS.replace(
        """,
    "Expiration": "2100-01-01T00:00:00Z\"""",
        "",
    )
    dot_aws.profile("corp", credential_process=str(dot_aws.program("print-keys", body)))
    assert (await account(profile="corp").fetcher().fetch()).expires_at is None


async def test_a_command_below_a_role_is_run_too(account: Open, aws: FakeAws, dot_aws: Aws) -> None:
    """In a `source_profile`."""
    aws.callers[PROCESS_KEY] = USER
    dot_aws.profile("base", credential_process=str(dot_aws.program("print-keys", PRINTS_KEYS)))
    dot_aws.profile("corp", role_arn=ROLE, source_profile="base")
    await account(profile="corp").fetcher().fetch()
    assert aws.last("AssumeRole")["key_id"] == PROCESS_KEY


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("import sys; sys.exit('fake-problem')", "print-keys: exit status 1: fake-problem"),
        ("print('fake-token-1')", "prints no AWS keys"),
        ('print(\'{"Version": 2, "AccessKeyId": "x"}\')', "its Version is not 1"),
    ],
)
async def test_a_profiles_command_that_fails_says_why(account: Open, dot_aws: Aws, body: str, expected: str) -> None:
    """In the words of a `command` source."""
    dot_aws.profile("corp", credential_process=str(dot_aws.program("print-keys", body)))
    error = await failure(account(profile="corp").fetcher())
    assert expected in str(error)
    assert "fake-token-1" not in str(error)


# --- no identity ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "{helper} --aws work",
        "{link} --aws work",
        "{broker} export work --format credential-process",
        "/usr/bin/env FAKE=1 {helper} --aws work",
        "/bin/sh -c '{link} --aws work'",
    ],
)
@pytest.mark.parametrize("below", [False, True])
async def test_the_broker_itself_is_no_identity(
    account: Open,
    dot_aws: Aws,
    command: str,
    below: bool,  # noqa: FBT001  # a parameter
) -> None:
    """Through links, other programs and source profiles: it would wait for itself, and start a process each time."""
    helper, broker = dot_aws.program("broker-helper", "raise SystemExit(3)"), dot_aws.program("broker", "")
    link = dot_aws.home / "keys"
    link.symlink_to(helper)
    dot_aws.profile("ours", credential_process=command.format(helper=helper, link=link, broker=broker))
    dot_aws.profile("corp", role_arn=ROLE, source_profile="ours")
    error = await failure(account(profile="corp" if below else "ours").fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "profile ours: its credential_process is this broker itself" in str(error)


@pytest.mark.parametrize(
    "command", ["/usr/bin/true /home/me/broker/x", "aws-vault export corp", "", "'", "no-such-thing"]
)
def test_other_programs_are_not_taken_for_the_broker(command: str) -> None:
    """A folder or a profile may have any name."""
    assert not ourselves.is_program(command)


async def test_our_own_container_endpoint_is_no_identity(account: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that was started in a shell with the lines of `broker env` would ask itself."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/aws"
        assert ourselves.listens_at(url)
        assert ourselves.listens_at(url.replace("127.0.0.1", "localhost"))
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        error = await failure(account(found=True).fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "is this broker's own endpoint" in str(error)
    assert not ourselves.listens_at(url)
    assert not ourselves.listens_at("http://[")


def test_looking_for_our_own_endpoint_leaves_no_descriptor_open() -> None:
    """It looks through all of them."""
    before = sorted(os.listdir("/dev/fd"))  # noqa: PTH208  # names alone
    for _ in range(5):
        ourselves.listens_at("http://127.0.0.1:1/")
    assert len(os.listdir("/dev/fd")) == len(before)  # noqa: PTH208  # as above


async def test_another_containers_endpoint_is_asked(
    account: Open, aws: FakeAws, dot_aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the container platform; here another process."""
    aws.callers[PROCESS_KEY] = USER
    monkeypatch.setattr(ourselves, "listens_at", lambda _url: False)  # this process serves it all the same
    with container({"AccessKeyId": PROCESS_KEY, "SecretAccessKey": "fake-key", "Token": "fake-token"}) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        issued = await account(found=True).fetcher().fetch()
    assert issued.parts["session_token"].reveal() == "fake-token"
    assert issued.expires_at == 4_102_444_800.0


@contextmanager
def container(keys: dict[str, str]) -> Iterator[str]:
    """Serve keys as a container platform does."""
    body = json.dumps({**keys, "Expiration": "2100-01-01T00:00:00Z"}).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/keys"
        server.shutdown()


async def test_a_containers_endpoint_that_is_gone_is_named(account: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that of an earlier daemon, left over in the shell that started this one."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/v1/aws/work")
    monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)
    error = await failure(account(found=True).fetcher())
    assert isinstance(error, TransientFetchError)
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI (or _RELATIVE_URI) of the daemon's environment" in str(error)


async def test_nothing_found_says_what_to_set(account: Open) -> None:
    """No keys, no profile, no container, no instance."""
    error = await failure(account(found=True).fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "no AWS identity is found" in str(error)
    assert "set `profile` of the source" in str(error)


@pytest.mark.slow
async def test_a_laptop_does_not_wait_for_an_instances_metadata(account: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers there; it is given up on within seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        began = time.monotonic()
        assert "no AWS identity is found" in str(await failure(account(found=True).fetcher()))
    assert time.monotonic() - began < 5


async def test_an_sso_sign_in_of_the_aws_cli_that_has_ended_names_its_command(
    account: Open, dot_aws: Aws, home: Path
) -> None:
    """And the sign-in is noticed without another word."""
    dot_aws.profile(
        "corp",
        sso_start_url="https://corp.awsapps.com/start",
        sso_region="eu-west-1",
        sso_account_id="222222222222",
        sso_role_name="claude",
    )
    fetcher = account(profile="corp").fetcher()
    error = await failure(fetcher)
    assert isinstance(error, LoginRequired)
    assert "run: aws sso login --profile corp" in str(error)
    assert not fetcher.changed()
    cache = home / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    (cache / "0123.json").write_text("{}")
    assert fetcher.changed()


async def test_another_config_is_noticed(account: Open, dot_aws: Aws) -> None:
    """Mending the profile needs nothing else."""
    fetcher = account(profile="corp").fetcher()
    assert "there is no AWS profile corp" in str(await failure(fetcher))
    assert not fetcher.changed()
    dot_aws.profile("corp", aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET_KEY)
    await eventually(fetcher.changed)
    assert (await fetcher.fetch()).details["arn"] == USER


async def test_no_address_of_the_environment_is_talked_to_in_the_open(
    account: Open, dot_aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever listens on the way would read the keys in the answer."""
    dot_aws.profile("corp", aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET_KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://sts.example")
    error = await failure(account(profile="corp", endpoint_url=None, role_arn=ROLE).fetcher())
    assert "the endpoint of sts is http" in str(error)


async def test_proxies_of_the_environment_see_no_plain_http(
    account: Open, aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server on this machine is asked directly."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await account(role_arn=ROLE).fetcher().fetch()).parts
    assert aws.calls["AssumeRole"] == 1
