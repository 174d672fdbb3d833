"""Anthropic's token endpoint, as its SDKs use it (read off 1.12.0 of the npm package), strict about replays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.json_server import Answer, Asked, JsonServer

ORGANIZATION = "11111111-2222-3333-4444-555555555555"
RULE = "fdrl_fake"
_BETAS = {"oauth-2025-04-20", "oidc-federation-2026-04-01"}


@dataclass
class FakeAnthropic(JsonServer):
    """`taken`: the assertions that were exchanged; `refuses`: whatever they are."""

    taken: list[str] = field(default_factory=list)
    expires_in: float = 3600.0

    def answer(self, asked: Asked) -> Answer:
        """Exchange an assertion."""
        if asked.path != "/v1/oauth/token":
            return Answer(404, {"type": "error", "error": {"type": "not_found_error", "message": "Not found"}})
        body: dict[str, Any] = asked.body
        if not set(asked.headers.get("anthropic-beta", "").split(",")) >= _BETAS:
            return Answer(400, {"error": "invalid_request", "error_description": "beta header missing"})
        if (body["organization_id"], body["federation_rule_id"]) != (ORGANIZATION, RULE):
            said = "no such federation rule"
            return Answer(401, {"type": "error", "error": {"type": "authentication_error", "message": said}})
        if body["assertion"] in self.taken:
            return Answer(400, {"error": "invalid_grant", "error_description": "assertion was used before"})
        self.taken.append(body["assertion"])
        token = f"sk-ant-oat01-fake-{len(self.taken)}"
        return Answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": self.expires_in})


@contextmanager
def fake_anthropic() -> Iterator[FakeAnthropic]:
    """Run one until the block ends."""
    made = FakeAnthropic()
    with made.serving():
        yield made
