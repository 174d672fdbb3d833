"""`broker token`, `refresh`, `export`, and `exec` of what has no endpoint: what a person asks for by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cli.conftest import Type
from tests.fakes.control import Script, credential_status

Spawn = Callable[..., subprocess.Popen[str]]

KEY = {"credential": "work", "kind": "api-key", "issued_at": "2026-01-01T00:00:00Z", "expires_at": None}
KEY |= {"token": "fake-token-1"}
SESSION = {
    "credential": "cloud",
    "kind": "aws-session",
    "issued_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-01T01:00:00Z",
    "access_key_id": "FAKEID",
    "secret_access_key": "fake/secret+1",
    "session_token": "fake-session-1",
}


@pytest.fixture
def parts(control: Script) -> Script:
    """Have a key named `work` and an AWS session named `cloud`."""
    control.parts = {"work": KEY, "cloud": SESSION}
    return control


def test_token_prints_the_token_alone(type_: Type, control: Script) -> None:
    """A person's ask: no TTL, so no refresh is forced and no rejection inferred."""
    said = type_("token work")
    assert (said.code, said.out, said.err) == (0, "fake-token-1\n", "")
    assert control.asks == ["GET /v1/token?ttl_ms=0&deadline_ms=30000&credential=work"]


def test_token_without_a_name_asks_for_the_default(type_: Type, control: Script) -> None:
    """The daemon knows which one that is."""
    assert type_("token").out == "fake-token-1\n"
    assert "credential=" not in control.asks[0]


def test_token_as_json_adds_what_is_known(type_: Type, control: Script) -> None:
    """For scripts that want to know how long it lives."""
    assert json.loads(type_("token --json").out) == {
        "credential": "work",
        "token": "fake-token-1",
        "fingerprint": "0123456789ab",
        "expires_in_s": 2520,
    }


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "bad-request", 64),
        (401, "needs-login", 77),
        (403, "refused", 77),
        (404, "unknown-credential", 78),
        (500, "internal", 70),
        (503, "source-failed", 69),
        (504, "deadline", 75),
    ],
)
def test_the_daemons_no_is_one_line_and_its_exit_code(
    type_: Type, control: Script, status: int, code: str, exit_code: int
) -> None:
    """The same codes as the helper's, and nothing on stdout."""
    control.errors["/v1/token"] = (status, code, "it did not work; do this")
    said = type_("token work")
    assert (said.code, said.out, said.err) == (exit_code, "", "broker: it did not work; do this\n")


def test_refresh_says_what_came_of_it(type_: Type, control: Script) -> None:
    """The new token by its fingerprint, never the token."""
    said = type_("refresh work")
    assert (said.code, said.out) == (0, "work: fresh, 42m left, fingerprint 0123456789ab\n")
    assert control.asks == ['POST /v1/refresh {"credential": "work"}']


def test_a_refresh_that_failed_is_an_error_even_while_a_token_is_left(type_: Type, control: Script) -> None:
    """Who asked for a new token did not get one; --json still shows how things are."""
    control.credentials = [credential_status("work", state="stale", last_error="no answer from the source")]
    said = type_("refresh work --json")
    assert said.code == 69
    assert json.loads(said.out)["state"] == "stale"
    assert said.err == "broker: work: no answer from the source (now stale)\n"


@pytest.mark.parametrize("failed", [True, False])
def test_a_refresh_that_comes_too_soon_says_for_how_long(type_: Type, control: Script, *, failed: bool) -> None:
    """Nothing was fetched: what is shown is what the last one brought."""
    error = "no answer from the source" if failed else None
    control.credentials = [credential_status("work", damped_s=7, last_error=error)]
    said = type_("refresh work")
    assert said.code == (69 if failed else 0)
    assert "; not asked again so soon, try in 7s" in (said.err if failed else said.out)


@pytest.mark.parametrize(("state", "mend", "code"), [("locked", "broker unlock", 77), ("empty", "try again", 69)])
def test_a_refresh_that_was_called_off_is_an_error(
    type_: Type, control: Script, state: str, mend: str, code: int
) -> None:
    """By `broker lock`, or a new config: there is no token."""
    control.credentials = [credential_status("work", state=state, fingerprint=None, expires_in_s=None)]
    said = type_("refresh work")
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith("broker: work: called off, ")
    assert mend in said.err


def test_a_refresh_that_needs_a_person_exits_so(type_: Type, control: Script) -> None:
    """77, as the helper does."""
    control.credentials = [credential_status("work", state="needs-login", last_error="run: broker login corp")]
    assert type_("refresh work").code == 77


def test_export_gives_a_line_for_the_shell(type_: Type, parts: Script) -> None:
    """The variable that Anthropic's clients read, or the one that --var names."""
    assert type_("export work").out == "export ANTHROPIC_API_KEY=fake-token-1\n"
    assert type_("export work --var LITELLM_KEY").out == "export LITELLM_KEY=fake-token-1\n"


def test_export_quotes_for_the_shell(type_: Type, parts: Script) -> None:
    """A token is data, whatever characters it has."""
    parts.parts["work"] = KEY | {"token": "a'b$(touch x)`c`"}
    line = type_("export work").out
    echoed = subprocess.run(["/bin/sh", "-c", f'{line}printf %s "$ANTHROPIC_API_KEY"'], capture_output=True, check=True)
    assert echoed.stdout.decode() == "a'b$(touch x)`c`"


@pytest.mark.parametrize("name", ["1X", "A-B", "X; touch y", "", "X=1"])
def test_a_variables_name_cannot_smuggle_a_command(type_: Type, parts: Script, name: str) -> None:
    """What `eval` reads holds no other command."""
    said = type_(f"export work --var '{name}'")
    assert (said.code, said.out) == (64, "")


def test_export_of_an_aws_session_leaves_no_other_credential_in_force(type_: Type, parts: Script) -> None:
    """A profile or a Bedrock key in the shell would win over the keys."""
    lines = type_("export cloud").out.splitlines()
    assert "unset AWS_PROFILE" in lines
    assert "unset AWS_BEARER_TOKEN_BEDROCK" in lines
    assert lines[-4:] == [
        "export AWS_ACCESS_KEY_ID=FAKEID",
        "export AWS_SECRET_ACCESS_KEY=fake/secret+1",
        "export AWS_SESSION_TOKEN=fake-session-1",
        "export AWS_CREDENTIAL_EXPIRATION=2026-01-01T01:00:00Z",
    ]


def test_keys_without_a_session_do_not_keep_the_shells_session_token(type_: Type, parts: Script) -> None:
    """Keys of one account with the session token of another are refused by AWS."""
    parts.parts["cloud"] = {key: value for key, value in SESSION.items() if key != "session_token"}
    assert "unset AWS_SESSION_TOKEN" in type_("export cloud").out.splitlines()


def test_export_as_json_and_headers(type_: Type, parts: Script) -> None:
    """All parts, or the map that Claude Code's headers helpers print."""
    assert json.loads(type_("export cloud --format json").out) == SESSION
    assert json.loads(type_("export work --format headers").out) == {
        "x-api-key": "fake-token-1",
        "authorization": "Bearer fake-token-1",
    }


def test_export_in_the_shapes_that_aws_programs_and_claude_code_run_a_command_for(type_: Type, parts: Script) -> None:
    """A `credential_process` prints its version, and no end for keys without one; Claude Code takes STS's shape."""
    keys = {
        "AccessKeyId": "FAKEID",
        "SecretAccessKey": "fake/secret+1",
        "SessionToken": "fake-session-1",
        "Expiration": "2026-01-01T01:00:00Z",
    }
    parts.raw["/v1/credentials/cloud"] = json.dumps(SESSION | {"account_id": "111111111111"}).encode()
    printed = json.loads(type_("export cloud --format credential-process").out)
    assert printed == {"Version": 1, **keys, "AccountId": "111111111111"}
    assert json.loads(type_("export cloud --format claude").out) == {"Credentials": keys}
    static = {name: value for name, value in SESSION.items() if name != "session_token"} | {"expires_at": None}
    parts.raw["/v1/credentials/cloud"] = json.dumps(static).encode()
    printed = json.loads(type_("export cloud --format credential-process").out)
    assert printed == {"Version": 1, "AccessKeyId": "FAKEID", "SecretAccessKey": "fake/secret+1"}
    said = type_("export cloud --format claude")
    assert (said.code, said.out) == (64, "")
    assert "get_session_token = true" in said.err


@pytest.mark.parametrize(
    ("kind", "variable"),
    [("bedrock-api-key", "AWS_BEARER_TOKEN_BEDROCK"), ("access-token", "CLOUDSDK_AUTH_ACCESS_TOKEN")],
)
def test_a_token_of_a_cloud_goes_where_its_programs_look(type_: Type, parts: Script, kind: str, variable: str) -> None:
    """And is a bearer's alone: no Anthropic key."""
    parts.raw["/v1/credentials/work"] = json.dumps({"credential": "work", "kind": kind, "token": "fake-1"}).encode()
    assert type_("export work").out == f"export {variable}=fake-1\n"
    assert json.loads(type_("export work --format headers").out) == {"authorization": "Bearer fake-1"}


def test_a_key_of_bedrock_comes_with_the_region_that_it_is_good_in(type_: Type, parts: Script) -> None:
    """A program would else look for one, or ask in another and be refused."""
    key = {"credential": "work", "kind": "bedrock-api-key", "region": "eu-west-1", "token": "fake-1"}
    parts.raw["/v1/credentials/work"] = json.dumps(key).encode()
    found = "export AWS_BEARER_TOKEN_BEDROCK=fake-1\nexport AWS_REGION=eu-west-1\nexport AWS_DEFAULT_REGION=eu-west-1\n"
    assert type_("export work").out == found
    assert type_("export work --var MINE").out == "export MINE=fake-1\n"


@pytest.mark.parametrize(
    "line",
    [
        "export cloud --format headers",
        "export cloud --var X",
        "exec cloud --var X -- env",
        "export work --format claude",
        "export work --format credential-process",
    ],
)
def test_an_aws_session_is_no_single_text(type_: Type, parts: Script, line: str) -> None:
    """It has no header and no one variable."""
    said = type_(line)
    assert (said.code, said.out) == (64, "")


SHOW = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"


def test_exec_runs_the_command_with_the_credential(spawn: Spawn, parts: Script) -> None:
    """In its environment, and in the place of this process."""
    with spawn(f"exec work -- {SHOW}", OTHER="stays") as child:
        out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert json.loads(out)["ANTHROPIC_API_KEY"] == "fake-token-1"
    assert json.loads(out)["OTHER"] == "stays"


def test_exec_takes_this_processs_place(spawn: Spawn, parts: Script) -> None:
    """No `broker` stays between the caller and the command: signals and exit codes are the command's own."""
    with spawn("exec work -- sh -c 'echo $$; exit 7'") as child:
        out, _ = child.communicate(timeout=60)
    assert (child.returncode, int(out)) == (7, child.pid)


def test_exec_with_an_aws_session_unsets_what_would_win(spawn: Spawn, parts: Script) -> None:
    """The command uses this session and no other."""
    with spawn(f"exec cloud -- {SHOW}", AWS_PROFILE="other", AWS_BEARER_TOKEN_BEDROCK="fake") as child:
        out, _ = child.communicate(timeout=60)
    seen = json.loads(out)
    assert seen["AWS_SECRET_ACCESS_KEY"] == "fake/secret+1"
    assert "AWS_PROFILE" not in seen
    assert "AWS_BEARER_TOKEN_BEDROCK" not in seen


@pytest.mark.parametrize(("command", "code"), [("no-such-program", 127), ("/", 126)])
def test_exec_fails_as_a_shell_does(type_: Type, parts: Script, command: str, code: int) -> None:
    """127 where there is no such command, 126 where it cannot be run."""
    said = type_(f"exec work -- {command}")
    assert said.code == code
    assert said.err.startswith(f"broker: {command}: ")


def test_without_a_daemon_and_without_autostart_it_says_how_to_start(type_: Type) -> None:
    """BROKER_AUTOSTART=0 holds for people too."""
    for line in ("token", "refresh", "export work", "exec work -- true"):
        said = type_(line)
        assert (said.code, said.out) == (69, "")
        assert said.err.endswith("start it with: broker start\n")
