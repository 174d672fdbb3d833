"""A `[sources.NAME]` of type `anthropic`, and its credentials: an assertion of ours for a token of Anthropic's.

What Claude Code makes of such a token (measured with 2.1.197 and 2.1.330): from `apiKeyHelper` it sends it as
`x-api-key` and as `Authorization: Bearer`, but without the `anthropic-beta: oauth-2025-04-20` that the API wants with
it. It does it right where it has the token from a credentials file of a profile, or makes the exchange itself
(`broker export --format anthropic-profile`, `anthropic-credentials` and `anthropic-env`).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Any, Final

from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Issued
from broker.secret import Secret
from broker.sources import answer
from broker.sources.anthropic import answers
from broker.sources.anthropic.renewal import renewed_by
from broker.sources.anthropic.settings import AnthropicSettings, AnthropicSourceSettings
from broker.sources.blocking import Blocking
from broker.sources.interface import DEFAULT_TIMEOUT_S, Context, Fetcher
from broker.sources.references import bind
from broker.sources.web.calls import Calls, NotSent

_PATH: Final = "/v1/oauth/token"
_HEADERS: Final = {"anthropic-beta": "oauth-2025-04-20,oidc-federation-2026-04-01"}
"""As Anthropic's own SDKs send it (read off 1.12.0 of the npm package, 2.12.0 of PyPI's)."""

_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class AnthropicSource:
    """One federation rule."""

    def __init__(self, settings: AnthropicSourceSettings, context: Context) -> None:
        self.settings = settings
        self.calls = Calls(settings.server)
        self.used = Used()
        self._context = context

    def fetcher(self, settings: AnthropicSettings, _credential: str) -> Fetcher:
        """Bind where assertions come from."""
        return AnthropicFetcher(self, settings, self._context)

    async def close(self) -> None:
        """Nothing was borrowed: a token cannot be given back."""


class Used:
    """The assertions that were sent, so that none is sent twice; of each only a digest by a key of this run."""

    _MOST: Final = 256

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._digests: dict[bytes, None] = {}

    def has(self, assertion: Secret) -> bool:
        """Whether it was sent before."""
        return self._digest(assertion) in self._digests

    def add(self, assertion: Secret) -> None:
        """It is being sent."""
        self._digests[self._digest(assertion)] = None
        if len(self._digests) > self._MOST:
            del self._digests[next(iter(self._digests))]

    def forget(self, assertion: Secret) -> None:
        """It did not leave this machine."""
        self._digests.pop(self._digest(assertion), None)

    def _digest(self, assertion: Secret) -> bytes:
        return hashlib.blake2b(assertion.reveal().encode(), key=self._key).digest()


class AnthropicFetcher:
    """Exchanges the assertions of one credential."""

    def __init__(self, source: AnthropicSource, settings: AnthropicSettings, context: Context) -> None:
        self._source = source
        self._reference = settings.assertion
        self._assertion = bind(settings.assertion, context, fresh=True)
        self._thread = Blocking("anthropic")
        self._waiting = False

    @property
    def timeout_s(self) -> float:
        """The call has its own time-out, and so has getting the assertion."""
        return DEFAULT_TIMEOUT_S + self._source.settings.timeout + 5

    async def fetch(self) -> Issued:
        """Get an assertion that was never sent, and exchange it."""
        self._waiting = True
        assertion = await self._fresh()
        issued = await self._exchanged(assertion)
        self._waiting = False
        return issued

    def changed(self) -> bool:
        """Notice another assertion where one is waited for; what was got by the last one stays good."""
        return self._waiting and self._assertion.changed()

    async def _fresh(self) -> Secret:
        assertion = Secret((await self._resolved()).reveal().strip())
        if self._source.used.has(assertion):
            raise TransientFetchError(
                f"{self._unchanged}; an assertion may be used once, and {renewed_by(self._reference)}"
            )
        return assertion

    async def _resolved(self) -> Secret:
        try:
            return await self._assertion.resolve()
        except PermanentFetchError as error:
            if answer.EXPIRED not in str(error) or self._reference.local is not None:  # that names its command itself
                raise
            raise PermanentFetchError(f"{error}; {renewed_by(self._reference)}") from None

    @property
    def _unchanged(self) -> str:
        if self._reference.file is not None:
            return f"{self._reference.file}: the token file has not changed since it was used"
        return "the assertion is the same that was used already"

    async def _exchanged(self, assertion: Secret) -> Issued:
        settings = self._source.settings
        self._source.used.add(assertion)
        began = time.time()
        try:
            reply = await self._source.calls.post(
                self._thread, _PATH, self._wish(assertion), _HEADERS, "exchange the assertion"
            )
        except NotSent:
            self._source.used.forget(assertion)
            raise
        if not reply.ok:
            raise answers.refusal(reply, settings, assertion, renewed_by(self._reference))
        return answers.issued(reply, began=began, details=self._details())

    def _wish(self, assertion: Secret) -> dict[str, Any]:
        settings = self._source.settings
        wanted = {
            "grant_type": _GRANT,
            "assertion": assertion.reveal(),
            "federation_rule_id": settings.federation_rule_id,
            "organization_id": settings.organization_id,
            "service_account_id": settings.service_account_id,
            "workspace_id": settings.workspace_id,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def _details(self) -> dict[str, str]:
        """What the formats of `broker export` need besides the token; none of it is secret."""
        settings = self._source.settings
        known = {
            "organization_id": settings.organization_id,
            "federation_rule_id": settings.federation_rule_id,
            "service_account_id": settings.service_account_id,
            "workspace_id": settings.workspace_id,
            "base_url": settings.base_url,
            "identity_token_file": self._reference.file,
        }
        return {name: value for name, value in known.items() if value is not None}
