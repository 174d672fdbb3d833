"""`broker doctor` on a real OpenBao that gives no secret."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.company import ENVIRONMENT, KEPT, READ, SECRET_ID, Company, company, configured
from tests.real.conftest import Need
from tests.real.installed import BROKER, Place
from tests.real.openbao import BAO
from tests.real.process import DEADLINE_S

pytestmark = pytest.mark.real


@pytest.fixture
def bao(need: Need, tmp_path: Path, place: Place) -> Iterator[Company]:
    """Give a server with one secret, and a config that names it."""
    need(BAO.exists(), f"{BAO} is missing")
    with company(tmp_path) as made:
        made.approle()
        made.allow({"secret/data/claude": READ})
        made.put("claude", key="fake-token-1")
        place.configure(configured(made.address, *KEPT))
        yield made


def findings(place: Place) -> list[tuple[str, str]]:
    """Ask the doctor; return what is wrong with the credential, and what to do."""
    done = subprocess.run(
        [str(BROKER), "doctor", "--json"],
        env={**place.env, **ENVIRONMENT, "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert not [secret for secret in (SECRET_ID, "fake-token-1") if secret in done.stdout + done.stderr]
    return [
        (found["what"], found["mend"])
        for found in json.loads(done.stdout)["findings"]
        if found["area"] == "credentials" and found["severity"] == "error"
    ]


def test_a_missing_policy_and_a_seal_are_explained(bao: Company, place: Place) -> None:
    """The path and the capability to ask the administrator for; and that somebody has to unseal."""
    assert findings(place) == []
    bao.allow({"secret/data/other": READ})
    ((what, mend),) = findings(place)
    assert what == f"work: {bao.address}: secret/data/claude: permission denied"
    assert 'path "secret/data/claude" { capabilities = ["read"] }' in mend
    bao.allow({"secret/data/claude": READ})
    assert findings(place) == []
    bao.post("sys/seal")
    ((what, mend),) = findings(place)
    assert "sealed" in what
    assert "unseal" in mend
