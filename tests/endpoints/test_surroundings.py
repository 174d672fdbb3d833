"""What a helper tells of its surroundings arrives as it is, or is refused as malformed."""

from __future__ import annotations

import os
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.endpoints.control.surroundings import told
from broker.engine.policy import Told
from broker.errors import BadRequest
from tests.endpoints.conftest import Face

SAFE = "-._~/"


def headers(folder: str | None, variables: str | None) -> dict[str, str]:
    """Write the two headers."""
    given_ = {"X-Broker-Cwd": folder, "X-Broker-Env": variables}
    return {name: value for name, value in given_.items() if value is not None}


def test_a_caller_without_headers_is_no_helper() -> None:
    """A person's curl; an empty header is a helper without anything to tell."""
    assert told({}) is None
    assert told(headers(None, "")) == Told(None)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ("CLAUDECODE=1", [("CLAUDECODE", "1")]),
        ("CLAUDECODE=", [("CLAUDECODE", "")]),
        ("CLAUDECODE", [("CLAUDECODE", None)]),
        ("A_URL=http%3A//x%3Ay%3D1%261/p&B", [("A_URL", "http://x:y=1&1/p"), ("B", None)]),
        ("A=1&A=1", [("A", "1")]),
        ("A=1&A=2", [("A", None)]),
        ("A=1&A", [("A", None)]),
        ("A=%ff", [("A", "\udcff")]),
    ],
)
def test_variables_arrive_with_value_or_as_set(variables: str, expected: list[tuple[str, str | None]]) -> None:
    """One that is there twice with two values is known to be set, and no more."""
    assert told(headers("/a%20b%0A", variables)) == Told("/a b\n", tuple(expected))


@given(folder=st.binary(), value=st.binary())
def test_every_byte_comes_through(folder: bytes, value: bytes) -> None:
    """A folder's name may hold any byte but NUL, and so may a value."""
    sent = headers(quote_from_bytes(folder, SAFE), f"X_URL={quote_from_bytes(value, SAFE)}")
    found = told(sent)
    assert found is not None
    assert found.folder is not None
    assert os.fsencode(found.folder) == folder
    assert os.fsencode(dict(found.variables)["X_URL"] or "") == value


@pytest.mark.parametrize(
    ("folder", "variables"),
    [("/a b", ""), ("/a%2", ""), ("/a%zz", ""), ("/\udcff", ""), ("/", "A=1;B=2"), ("/", "A=%")],
)
def test_what_no_helper_sends_is_malformed(folder: str, variables: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(BadRequest, match="expected percent-encoded text, as broker-helper sends it"):
        told(headers(folder, variables))


async def test_a_malformed_header_is_answered_with_400(face: Face) -> None:
    """On both faces that hand out a token."""
    for target in ("/v1/token", "/v1/credentials/work"):
        answer = await face.get(target, X_Broker_Cwd="/a b")
        assert (answer.status, answer.headers["X-Broker-Error"]) == (400, "bad-request")
    answer = await face.get("/v1/token", X_Broker_Cwd="/a", X_Broker_Env="")
    assert answer.status == 200
