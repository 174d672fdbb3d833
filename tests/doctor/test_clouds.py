"""What the doctor finds of a Claude Code that is set up for Bedrock or Vertex: every fault planted in a healthy place."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from broker.doctor import Severity, processes
from broker.doctor.processes import Running
from tests.doctor.conftest import Patient
from tests.fakes.control import credential_status
from tests.fakes.in_background import in_background

NOTICE, WARNING, ERROR = Severity.NOTICE, Severity.WARNING, Severity.ERROR
Plant = Callable[[Patient], object]
CONFIG = """\
default = "work"
[endpoints.aws]
listen = "127.0.0.1:0"
[endpoints.gcp]
listen = "127.0.0.1:0"
[sources.corp]
type = "aws"
profile = "corp"
[credentials.work]
source = "corp"
[credentials.key]
source = "corp"
kind = "bedrock-api-key"
region = "us-east-1"
[credentials.google]
source = "gcp"
"""
BEDROCK = {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "us-east-1"}
VERTEX = {"CLAUDE_CODE_USE_VERTEX": "1", "CLOUD_ML_REGION": "global", "ANTHROPIC_VERTEX_PROJECT_ID": "p"}
METADATA = {"GCE_METADATA_HOST": "127.0.0.1:4711", "METADATA_SERVER_DETECTION": "assume-present"}
SECRET = "fake-secret-1"


class _Endpoint(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Serve whoever shows the one token."""
        good = self.headers["Authorization"] == "good"
        self.send_response(200 if good else 403)
        self.end_headers()
        body = (
            {"AccessKeyId": SECRET} if good else {"message": "the authorization token is none of this daemon's; run: x"}
        )
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Give the address of an endpoint that answers as the daemon's does."""
    with in_background(_Endpoint) as url:
        yield f"{url}/v1/aws/work"


@pytest.fixture
def cloudy(patient: Patient, endpoint: str) -> Patient:
    """Give a place whose credentials are AWS's and Google's; nothing is set up for them yet."""
    patient.env |= {"ENDPOINT": endpoint}
    patient.configure(CONFIG)
    patient.script.credentials = [
        credential_status("work", source="corp", expires_at=None),
        credential_status("key", source="corp", expires_at=None),
        credential_status("google", source="gcp", expires_at=None),
    ]
    consumer(patient)
    return patient


def consumer(patient: Patient, **changes: object) -> None:
    """Have the daemon tell where its endpoints are."""
    found = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": patient.env["ENDPOINT"], "GCE_METADATA_HOST": "127.0.0.1:4711"}
    answer = {"set": found, "unset": [], "lasting": True, "problem": None} | changes
    patient.script.raw["/v1/consumers"] = json.dumps(answer).encode()


def settings(patient: Patient, env: Mapping[str, str], **keys: object) -> None:
    """Write settings without an apiKeyHelper."""
    tree: dict[str, Any] = {"env": dict(env)} | keys
    patient.user_settings.write_text(json.dumps(tree))


def export(env: Mapping[str, str] | None = None, line: str = "{} --aws work") -> Plant:
    """Set Claude Code up for Bedrock by the helper's command."""
    return lambda patient: settings(patient, BEDROCK | dict(env or {}), awsCredentialExport=line.format(patient.helper))


def by_endpoint(shown: str = "good", **changes: str) -> Plant:
    """Set Claude Code up for Bedrock by the endpoint."""

    def plant(patient: Patient) -> None:
        found = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": patient.env["ENDPOINT"]}
        settings(patient, BEDROCK | found | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": shown} | changes)

    return plant


def by_metadata(**changes: str) -> Plant:
    """Set Claude Code up for Vertex by the metadata server."""
    return lambda patient: settings(patient, VERTEX | METADATA | changes)


def both(*plants: Plant) -> Plant:
    """Plant several."""

    def plant(patient: Patient) -> None:
        for one in plants:
            one(patient)

    return plant


def file(name: str, text: str) -> Plant:
    """Write a file of the home folder."""

    def plant(patient: Patient) -> None:
        path = patient.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return plant


def profile(keys: str, name: str = "corp") -> Plant:
    """Write an AWS config with one profile."""
    return lambda patient: file(".aws/config", f"[profile {name}]\n{keys.format(patient.helper)}\n")(patient)


def shell(name: str, value: str) -> Plant:
    """Set a variable in the shell."""
    return lambda patient: patient.env.update({name: value})


def says(**changes: object) -> Plant:
    """Have the daemon say something else of its endpoints."""
    return lambda patient: consumer(patient, **changes)


def skew(seconds: str) -> Plant:
    """Have AWS's answers come from another time."""
    details = {"clock_skew_s": seconds}
    return lambda patient: patient.script.credentials.append(credential_status("x", details=details, expires_at=None))


def early(patient: Patient) -> None:
    """Let a Claude Code run that is older than the daemon."""
    patient.patch.setattr(processes, "claude_codes", lambda: [Running(4711, time.time() - 10**7)])


WELL: dict[str, Plant] = {
    "export": export(),
    "export beside keys, over which it wins": both(export(), shell("AWS_ACCESS_KEY_ID", "AKIA")),
    "endpoint": by_endpoint(),
    "endpoint, and a profile that is not the one": both(by_endpoint(), profile("sso_session = x")),
    "bearer": lambda patient: patient.settings(
        env=BEDROCK | {"CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1"}, apiKeyHelper=f"{patient.helper} key"
    ),
    "metadata": by_metadata(),
    "metadata, and an old Claude Code that detects nothing": both(by_metadata(), early),
    "helper at Vertex": lambda patient: patient.settings(env=VERTEX | {"CLAUDE_CODE_SKIP_VERTEX_AUTH": "1"}),
    "a leftover of gcloud's beside the helper": both(
        lambda patient: patient.settings(env=VERTEX | {"CLAUDE_CODE_SKIP_VERTEX_AUTH": "1"}),
        file(".config/gcloud/application_default_credentials.json", SECRET),
    ),
    "a profile that asks us": profile("region = x\ncredential_process = {} --aws work", name="mine"),
}

FAULTS: dict[str, tuple[Plant, str, Severity]] = {
    "a clock that is off": (skew("20"), "aws-clock", WARNING),
    "a clock that AWS refuses": (skew("-600"), "aws-clock", ERROR),
    "a bearer beside export": (both(export(), shell("AWS_BEARER_TOKEN_BEDROCK", SECRET)), "aws-stray", ERROR),
    "a bearer in the settings": (export({"AWS_BEARER_TOKEN_BEDROCK": SECRET}), "aws-stray", ERROR),
    "keys beside the endpoint": (both(by_endpoint(), shell("AWS_ACCESS_KEY_ID", "AKIA")), "aws-stray", ERROR),
    "no region": (export({"AWS_REGION": ""}), "aws-region", NOTICE),
    "a command that is gone": (export(line="/nowhere/broker-helper --aws work"), "aws-helper-gone", ERROR),
    "a command's credential unknown": (export(line="{} --aws fake-secret-1"), "aws-unknown-credential", ERROR),
    "a command without credential": (export(line="{}"), "aws-unknown-credential", ERROR),
    "somebody else's command": (
        lambda patient: settings(patient, BEDROCK, awsCredentialExport="/bin/cat x"),
        "provider-wins",
        WARNING,
    ),
    "a stale address": (
        by_endpoint(AWS_CONTAINER_CREDENTIALS_FULL_URI="http://127.0.0.1:1/v1/aws/work"),
        "aws-endpoint-stale",
        ERROR,
    ),
    "a stale token": (by_endpoint("old"), "aws-endpoint-refuses", ERROR),
    "an endpoint that is off": (
        both(
            by_endpoint(),
            lambda patient: patient.script.raw.pop("/v1/consumers"),
            lambda patient: patient.script.errors.update({"/v1/consumers": (400, "bad-request", "it is off; add x")}),
        ),
        "aws-endpoint",
        ERROR,
    ),
    "nobody at the address": (
        both(
            by_endpoint(AWS_CONTAINER_CREDENTIALS_FULL_URI="http://127.0.0.1:1/v1/aws/work"),
            says(set={"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/v1/aws/work"}),
        ),
        "aws-endpoint-refuses",
        ERROR,
    ),
    "an answer of another version": (both(by_endpoint(), says(set=3)), "aws-endpoint", ERROR),
    "a token that ends": (both(by_endpoint(), says(lasting=False)), "aws-endpoint-ends", NOTICE),
    "keys in the default profile": (
        both(by_endpoint(), file(".aws/credentials", f"[default]\naws_access_key_id = {SECRET}\n")),
        "aws-profile-wins",
        ERROR,
    ),
    "keys in the shell's profile": (
        both(by_endpoint(), shell("AWS_PROFILE", "corp"), profile("role_arn = x")),
        "aws-profile-wins",
        ERROR,
    ),
    "an AWS config that nobody reads": (file(".aws/config", "x\n"), "aws-config", WARNING),
    "a profile whose helper is gone": (
        profile("credential_process = /nowhere/broker-helper --aws work"),
        "aws-helper-gone",
        ERROR,
    ),
    "a profile whose helper is another's": (
        both(
            file("old/broker-helper", "#!/bin/sh\n"),
            lambda patient: (patient.folder / "old" / "broker-helper").chmod(0o755),
            lambda patient: profile(f"credential_process = {patient.folder}/old/broker-helper --aws google")(patient),
        ),
        "aws-helper-other",
        WARNING,
    ),
    "a profile that has more": (
        profile("sso_session = x\ncredential_process = {} --aws google"),
        "aws-profile-stronger",
        WARNING,
    ),
    "a source that asks itself": (profile("credential_process = {} --aws work"), "aws-recursion", ERROR),
    "no project": (by_metadata(ANTHROPIC_VERTEX_PROJECT_ID=""), "vertex-project", WARNING),
    "no region at Vertex": (by_metadata(CLOUD_ML_REGION=""), "vertex-region", NOTICE),
    "a region without Claude": (by_metadata(CLOUD_ML_REGION="us-west9"), "vertex-region", NOTICE),
    "a credentials file named": (
        both(by_metadata(), shell("GOOGLE_APPLICATION_CREDENTIALS", "/x")),
        "gcp-stray",
        ERROR,
    ),
    "a library told not to look": (both(by_metadata(), shell("NO_GCE_CHECK", "True")), "gcp-blind", ERROR),
    "a leftover of gcloud's": (
        both(by_metadata(), file(".config/gcloud/application_default_credentials.json", SECRET)),
        "gcp-leftover",
        ERROR,
    ),
    "a leftover elsewhere": (
        both(
            by_metadata(),
            file("gc/application_default_credentials.json", SECRET),
            lambda patient: patient.env.update({"CLOUDSDK_CONFIG": str(patient.folder / "gc")}),
        ),
        "gcp-leftover",
        ERROR,
    ),
    "a stale metadata server": (by_metadata(GCE_METADATA_HOST="127.0.0.1:1"), "gcp-endpoint-stale", ERROR),
    "an unknown metadata server": (both(by_metadata(), says(set=3)), "gcp-endpoint", ERROR),
    "a Claude Code from before": (both(by_metadata(METADATA_SERVER_DETECTION=""), early), "gcp-detection", NOTICE),
}


@pytest.mark.parametrize("name", WELL)
def test_each_way_is_fine_by_itself(cloudy: Patient, name: str) -> None:
    """No false alarm: neither that no helper is set up, nor that another provider wins."""
    WELL[name](cloudy)
    found = {finding.code for _, finding in cloudy.examine().findings if finding.severity}
    assert found <= {"helper-python"}, found


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found(cloudy: Patient, name: str) -> None:
    """With why it matters and what mends it, and without a secret."""
    plant, code, severity = FAULTS[name]
    plant(cloudy)
    found = cloudy.found(code)
    assert found.severity is severity
    assert found.why
    assert found.mend
    assert SECRET not in f"{found.what}{found.why}{found.mend}"


def test_a_running_claude_code_is_seen_with_its_age(cloudy: Patient, tmp_path: Path) -> None:
    """By its name in /proc; a process of another name is none."""
    process = cloudy.runs("claude", "-c", "read line", executable=str(_named(tmp_path, "claude")))
    other = cloudy.runs("other", "-c", "read line", executable=str(_named(tmp_path, "other")))
    found = {one.pid: one.started for one in processes.claude_codes()}
    assert abs(found[process.pid] - time.time()) < 60
    assert other.pid not in found


def _named(folder: Path, name: str) -> Path:
    """Make a shell of another name: the kernel calls a process after its file."""
    path = folder / name
    path.write_bytes(Path("/bin/sh").read_bytes())
    path.chmod(0o755)
    return path
