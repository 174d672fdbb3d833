"""What the doctor says of pools: each fault planted in what the daemon tells, or in the config."""

from __future__ import annotations

import pytest

from broker.doctor import Severity
from broker.doctor.registry import ALL
from tests.doctor.conftest import Patient
from tests.fakes.control import credential_status

CONFIG = """
[credentials.a]
source = "demo"
{a}
[credentials.b]
source = "demo"

[sources.rota]
type = "pool"
members = ["a", "b"]

[credentials.keys]
source = "rota"
audience = ["https://llm.example"]
"""
LIMITED = {"code": "member-resting", "message": "a rests for another 9s: upstream limits its rate"}
ALL_REST = {"code": "all-resting", "message": "every member rests; b is served all the same"}
AWAY = {"code": "member-needs-login", "message": "b is passed over: signed out; run: broker login corp"}


@pytest.fixture
def user(patient: Patient) -> Patient:
    """Give somebody with a pool of two."""
    patient.checks = {"credentials": ALL["credentials"], "pools": ALL["pools"]}
    patient.configure(CONFIG.format(a=""))
    return patient


def warned(user: Patient, *warnings: dict[str, str], state: str = "fresh") -> list[tuple[Severity, str, str]]:
    """Examine while the daemon warns so of the pool; leave out what is well."""
    entry = credential_status("keys", source="rota", state=state)
    user.script.credentials = [entry | {"warnings": list(warnings)}]
    found = [finding for _, finding in user.examine().findings if finding.severity is not Severity.OK]
    return [(finding.severity, finding.what, finding.mend) for finding in found]


def test_a_pool_whose_members_are_all_there_is_well(user: Patient) -> None:
    """Else the faults below would prove nothing; and most configs have no pool."""
    assert warned(user) == []
    assert user.found("pools").what == "keys: every member can serve"
    user.configure('[credentials.a]\nsource = "demo"\n')
    assert user.found("pools").what == "no pool"


def test_a_member_that_rests_is_told_once(user: Patient) -> None:
    """With until when, and the command that ends it."""
    (found,) = warned(user, LIMITED)
    what = f"keys: {LIMITED['message']}"
    assert found == (Severity.WARNING, what, "when upstream takes it again: broker refresh keys")


def test_when_all_rest_that_alone_is_told_as_an_error(user: Patient) -> None:
    """Nobody's prompts are answered then, most likely."""
    (found,) = warned(user, LIMITED, ALL_REST, state="stale")
    assert found[:2] == (Severity.ERROR, "keys: every member rests; b is served all the same")


def test_a_member_that_is_passed_over_is_told_with_its_own_remedy(user: Patient) -> None:
    """Beside what is said of that credential itself."""
    (found,) = warned(user, AWAY)
    assert found == (Severity.WARNING, "keys: b is passed over: signed out", "broker login corp")


def test_a_member_whose_audience_keeps_it_out_is_told(user: Patient) -> None:
    """The pool has one key less than it seems; one that may go to some of its places is no finding."""
    user.configure(CONFIG.format(a='audience = ["https://other.example"]\n'))
    ((severity, what, mend),) = warned(user)
    assert severity is Severity.WARNING
    assert what == "keys: a is never given, as its own audience has none of the pool's"
    assert mend.startswith("add https://llm.example to `audience` of [credentials.a]")
    user.configure(CONFIG.format(a='audience = ["https://other.example", "https://llm.example"]\n'))
    assert warned(user) == []
