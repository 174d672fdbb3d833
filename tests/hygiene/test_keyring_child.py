"""The child that asks the keyring for a key: it is given what it needs by a pipe, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from broker import os_keyring
from broker.secret import Secret
from tests.hygiene.conftest import SECRETS, STEERING

WITNESS = f"""#!{sys.executable} -IS
import json, os, sys
asked = sys.stdin.read()
links = {{fd: os.path.realpath(f"/proc/self/fd/{{fd}}") for fd in os.listdir("/proc/self/fd")}}
facts = dict(argv=sys.argv, env=dict(os.environ), cwd=os.getcwd(), leader=os.getsid(0) == os.getpid(), asked=asked, fds=links)
open(__file__ + ".facts", "w").write(json.dumps(facts))
print(json.dumps({{"values": [None]}}))
"""


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Store an entry, from a process with secrets in its environment and a file open; tell what the child saw."""
    witness = tmp_path / "python"
    witness.write_text(WITNESS)
    witness.chmod(0o700)
    for name, value in (SECRETS | STEERING).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "executable", str(witness))
    with Path("/etc/passwd").open():
        os_keyring.ask([os_keyring.put("fake-service", "fake-user", Secret("fake-secret-1"))], 30)
    facts: dict[str, Any] = json.loads(Path(f"{witness}.facts").read_text())
    return facts


def test_the_secret_goes_by_a_pipe(seen: dict[str, Any]) -> None:
    """Not on the command line, which everybody can read, nor in the environment."""
    assert "fake-secret-1" in seen["asked"]
    assert "fake-secret-1" not in json.dumps([seen["argv"], seen["env"]])


def test_no_module_can_be_planted(seen: dict[str, Any]) -> None:
    """Neither by PYTHON* variables nor in the current folder."""
    assert seen["argv"][1:4] == ["-E", "-P", "-m"]
    assert seen["cwd"] == "/"


def test_it_gets_only_what_finds_the_desktop(seen: dict[str, Any]) -> None:
    """No key of another tool, nothing that steers a loader; no descriptor of ours, no terminal to ask on."""
    assert not {*seen["env"]} & {*SECRETS, *STEERING}
    assert not [where for where in seen["fds"].values() if where == "/etc/passwd"]
    assert seen["leader"]
