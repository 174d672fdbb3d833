"""`broker env`, and `broker exec` where the credential has an endpoint: found by other programs, never handed over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Type
from tests.fakes.control import Script

URI = "http://127.0.0.1:1234/v1/aws/cloud"
FOUND = {
    "set": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": URI, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "fake token-1"},
    "unset": ["AWS_PROFILE", "AWS_ACCESS_KEY_ID"],
}
SHOW = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"

Spawn = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def cloud(control: Script, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Script:
    """Have an AWS session named `cloud` with an endpoint, and a person without files of AWS's."""
    monkeypatch.setenv("HOME", str(folder))
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    control.consumers["cloud"] = FOUND
    return control


def test_a_shell_is_told_what_to_unset_and_what_to_set(type_: Type, cloud: Script) -> None:
    """In lines for `eval`, each value quoted."""
    said = type_("env cloud")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "unset AWS_PROFILE",
        "unset AWS_ACCESS_KEY_ID",
        f"export AWS_CONTAINER_CREDENTIALS_FULL_URI={URI}",
        "export AWS_CONTAINER_AUTHORIZATION_TOKEN='fake token-1'",
    ]


def test_as_json_for_programs(type_: Type, cloud: Script) -> None:
    """What to set, what to unset, and whether it lasts."""
    assert json.loads(type_("env cloud --json").out) == FOUND | {"lasting": True}


def test_without_an_endpoint_it_says_why(type_: Type, cloud: Script) -> None:
    """And prints nothing that a shell would run."""
    said = type_("env work")
    assert (said.code, said.out) == (64, "")
    assert said.err == "broker: work is of kind api-key, which no endpoint serves\n"


def test_what_does_not_work_now_or_will_not_last_is_said_beside(type_: Type, cloud: Script) -> None:
    """A source that is away may come back while the shell lives."""
    problem = {"code": "source-failed", "message": "cloud: no answer from https://sts.example"}
    cloud.consumers["cloud"] = FOUND | {"lasting": False, "problem": problem}
    said = type_("env cloud")
    assert said.code == 0
    assert said.out.startswith("unset AWS_PROFILE\n")
    first, second = said.err.splitlines()
    assert first == "broker: cloud: no answer from https://sts.example"
    assert "until the daemon ends" in second


@pytest.mark.parametrize("form", ["", " --json"])
def test_where_nobody_is_signed_in_it_ends_as_token_does(type_: Type, cloud: Script, form: str) -> None:
    """One line with the command that mends it, and no variables that a script would go on with."""
    problem = {"code": "needs-login", "message": "sign in first; run: broker login corp"}
    cloud.consumers["cloud"] = FOUND | {"problem": problem}
    said = type_(f"env cloud{form}")
    assert (said.code, said.out, said.err) == (77, "", "broker: sign in first; run: broker login corp\n")


def test_exec_lets_the_command_find_it(spawn: Spawn, cloud: Script) -> None:
    """The endpoint instead of keys that grow old, and nothing that would win over it."""
    with spawn(f"exec cloud -- {SHOW}", AWS_PROFILE="other", OTHER="stays") as child:
        seen = json.loads(child.communicate(timeout=60)[0])
    assert seen["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == URI
    assert seen["OTHER"] == "stays"
    assert not {"AWS_PROFILE", "AWS_SECRET_ACCESS_KEY", "AWS_CONFIG_FILE"} & set(seen)
    assert [ask.split()[1] for ask in cloud.asks] == ["/v1/consumers"], "its keys are not asked for"


def test_exec_does_not_start_what_could_get_nothing(type_: Type, cloud: Script) -> None:
    """The command would only fail, with words of its own."""
    problem = {"code": "needs-login", "message": "sign in first; run: broker login corp"}
    cloud.consumers["cloud"] = FOUND | {"problem": problem}
    said = type_("exec cloud -- true")
    assert (said.code, said.err) == (77, "broker: sign in first; run: broker login corp\n")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("[default]\nregion = eu-west-1\ncredential_process = x\n", "AWS_CONFIG_FILE"),
        ("[default]\nregion = eu-west-1\nrole_arn = x\n", "AWS_CONFIG_FILE"),
        ("[default]\naws_access_key_id = x\n", "AWS_SHARED_CREDENTIALS_FILE"),
        ("[default]\nregion = eu-west-1\n[profile x]\nrole_arn = x\n", None),
        ("[x]\naws_access_key_id = x\n", None),
    ],
)
def test_a_default_profile_with_keys_of_its_own_is_hidden(
    type_: Type, cloud: Script, folder: Path, text: str, hidden: str | None
) -> None:
    """It would win over any endpoint, whatever the variables say; the region that it names still counts."""
    (folder / ".aws").mkdir()
    (folder / ".aws" / ("credentials" if "access_key" in text else "config")).write_text(text)
    found = json.loads(type_("env cloud --json").out)["set"]
    files = {name: value for name, value in found.items() if name.endswith("_FILE")}
    assert files == ({hidden: "/dev/null"} if hidden else {})
    assert found.get("AWS_REGION") == ("eu-west-1" if hidden and "region" in text else None)


def test_a_file_of_aws_that_gives_no_text_holds_nobody_up(type_: Type, cloud: Script, folder: Path) -> None:
    """A FIFO that nobody writes into, say: reading it would wait for ever."""
    (folder / ".aws").mkdir()
    os.mkfifo(folder / ".aws" / "config")
    (folder / ".aws" / "credentials").write_bytes(b"\xff")
    assert json.loads(type_("env cloud --json").out) == FOUND | {"lasting": True}
