"""`broker export --format gcp-executable`, and `broker env` where there is a proxy: what Google's clients need."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Type
from tests.fakes.control import Script

PRINTED = {"version": 1, "success": True, "token_type": "urn:ietf:params:oauth:token-type:jwt", "id_token": "fake-1"}
ADDRESS = "127.0.0.1:8123"


def test_the_executable_prints_what_the_daemon_says_and_nothing_beside(type_: Type, control: Script) -> None:
    """Clients read stdout and stderr as one JSON."""
    control.raw["/v1/subject-token"] = json.dumps(PRINTED).encode()
    said = type_("export vertex --format gcp-executable")
    assert (said.code, said.err, json.loads(said.out)) == (0, "", PRINTED)
    assert control.asks[-1] == 'POST /v1/subject-token {"credential": "vertex"}'


def test_an_error_is_json_too(type_: Type, control: Script) -> None:
    """Of an executable that fails, clients show nothing: so this one does not."""
    control.errors["/v1/subject-token"] = (401, "needs-login", "run: broker login google")
    said = type_("export vertex --format gcp-executable")
    assert (said.code, said.err) == (0, "")
    told = {"version": 1, "success": False, "code": "needs-login", "message": "run: broker login google"}
    assert json.loads(said.out) == told


@pytest.mark.parametrize(
    ("proxies", "past"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://proxy.example:3128"}, "127.0.0.1"),
        ({"https_proxy": "http://proxy.example:3128", "NO_PROXY": "corp.example"}, "corp.example,127.0.0.1"),
        ({"HTTP_PROXY": "http://proxy.example:3128", "no_proxy": "a, 127.0.0.1"}, None),
        ({"HTTP_PROXY": "http://proxy.example:3128", "no_proxy": "*"}, None),
    ],
)
def test_programs_behind_a_proxy_ask_this_machine_itself(
    type_: Type, control: Script, monkeypatch: pytest.MonkeyPatch, proxies: dict[str, str], past: str | None
) -> None:
    """Google's libraries send what goes to the loopback to a proxy like everything else."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    control.consumers["vertex"] = {"set": {"GCE_METADATA_HOST": ADDRESS}, "unset": ["NO_GCE_CHECK"]}
    found = json.loads(type_("env vertex --json").out)["set"]
    assert found["GCE_METADATA_HOST"] == ADDRESS
    assert (found.get("NO_PROXY"), found.get("no_proxy")) == (past, past)
