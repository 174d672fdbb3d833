"""A wrapped secret_id and the daemon's life: the real server, the real keyring, restarts and locks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.company import READ, ROLE_ID, company
from tests.real.conftest import Need
from tests.real.installed import Place, running
from tests.real.openbao import BAO
from tests.real.secret_service import PROGRAMS, secret_service

pytestmark = [pytest.mark.real, pytest.mark.slow]

CONFIG = """
[sources.corp]
type = "vault"
address = "{address}"
auth = {{ method = "approle", role_id = "{role_id}", secret_id = {{ env = "WRAPPED" }}, wrapping_role = "claude" }}

[credentials.work]
source = "corp"
path = "secret/claude"
"""
TOKEN = "/v1/token?credential=work"


def test_one_wrapping_token_does_for_restarts_and_locks(
    need: Need, need_program: Callable[[str], str], place: Place, tmp_path: Path
) -> None:
    """What was in it is kept encrypted: the secret changes at the server, and every run signs in and reads it."""
    need(BAO.exists(), f"{BAO} is missing")
    for program in PROGRAMS:
        need_program(program)
    with company(tmp_path) as bao, secret_service(place.folder) as keyring:
        bao.approle()
        bao.allow({"secret/data/claude": READ})
        wrapped = bao.call("POST", "auth/approle/role/claude/secret-id", {}, wrap="300s")["wrap_info"]["token"]
        place.configure(CONFIG.format(address=bao.address, role_id=ROLE_ID))
        for number in (1, 2):
            bao.put("claude", key=f"fake-token-{number}")
            with running(place, env={**keyring.env, "WRAPPED": wrapped}):
                assert place.call("POST", "/v1/lock")[0] == 200
                assert place.call("POST", "/v1/unlock")[0] == 200
                place.call("POST", "/v1/refresh", {"credential": "work"})
                assert place.call("GET", TOKEN) == (200, f"fake-token-{number}".encode())
                assert place.call("POST", "/v1/lock")[0] == 200
                assert bao.logins() == 0
                assert place.call("POST", "/v1/unlock")[0] == 200
                assert place.call("GET", TOKEN) == (200, f"fake-token-{number}".encode())
                assert wrapped.encode() not in (place.folder / "state" / "cache.bin").read_bytes()
