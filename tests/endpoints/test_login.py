"""The control socket's calls about a person's sign-in."""

from __future__ import annotations

import pytest

from tests.endpoints.conftest import Face

BACK = "http://localhost:8250/oidc/callback"


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("login", {}),
        ("login", {"redirect_uri": BACK}),
        ("login", {"source": "work", "redirect_uri": None}),
        ("login/wait", {"source": "work"}),
        ("login/wait", {"source": "work", "state": "xxx", "code": "xxx"}),
        ("login", {"source": 1, "redirect_uri": BACK}),
        ("login", {"source": "work", "redirect_uri": "https://evil.example/"}),
        ("login", {"source": "work", "redirect_uri": "http://localhost:8250@evil.example/"}),
        ("login", {"source": "work", "redirect_uri": "http://localhost.evil.example:8250/"}),
        ("login", {"source": "work", "redirect_uri": BACK + "?x"}),
        ("login", {"source": "work", "redirect_uri": BACK, "more": 1}),
        ("login/finish", {"source": "work", "state": "fake-state"}),
        ("login/finish", {"source": "work", "state": "fake-state", "code": "xxx\n"}),
        ("login/finish", {"source": "work", "state": "fake-state", "code": "x" * 20_000}),
        ("login/finish", {"source": "work", "state": "\u00e4", "code": "xxx"}),
        ("logout", {"source": ""}),
        ("logout", []),
    ],
)
async def test_a_malformed_call_is_a_bad_request_that_quotes_nothing(face: Face, call: str, body: object) -> None:
    """A code is a secret; and the answer is to come back to this machine alone."""
    answer = await face.post(f"/v1/{call}", body)
    assert (answer.status, answer.headers["X-Broker-Error"]) == (400, "bad-request")
    assert b"xxx" not in answer.body
    assert b"nobody signs in" not in answer.body


@pytest.mark.parametrize(
    ("call", "more"),
    [
        ("login", {"redirect_uri": BACK}),
        ("login", {}),
        ("login/wait", {"state": "fake-state"}),
        ("login/finish", {"state": "fake-state", "code": "fake-code"}),
        ("logout", {}),
    ],
)
async def test_each_call_reaches_its_source(face: Face, call: str, more: dict[str, str]) -> None:
    """One without sign-in says so, one that is not there too."""
    plain = await face.post(f"/v1/{call}", {"source": "work", **more})
    assert plain.status == 400
    assert b"nobody signs in to source work by hand" in plain.body
    absent = await face.post(f"/v1/{call}", {"source": "absent", **more})
    assert (absent.status, absent.headers["X-Broker-Error"]) == (404, "unknown-credential")


async def test_strangers_sign_nobody_in(foreign_face: Face) -> None:
    """Nor out."""
    for call in ("login", "login/wait", "login/finish", "logout"):
        assert (await foreign_face.post(f"/v1/{call}", {"source": "work"})).status == 403
