"""`oauth`: tokens of an OAuth 2 or OpenID Connect provider, for a gateway that trusts it."""

from __future__ import annotations

from typing import Final

from broker.sources.interface import Context, SourceType
from broker.sources.oauth.settings import OAuthSettings, OAuthSourceSettings
from broker.sources.oauth.source import OAuthSource

_MAX_AGE_S: Final = 300.0
"""An answer may leave out how long its token lives (RFC 6749, 5.1)."""


def _open(settings: OAuthSourceSettings, context: Context) -> OAuthSource:
    made = OAuthSource(settings, context)
    made.provider.warm()  # else the first who asks waits for the libraries to load
    return made


OAUTH: Final = SourceType(
    "oauth",
    OAuthSourceSettings,
    OAuthSettings,
    _open,
    max_age_s=_MAX_AGE_S,
    kind=lambda settings: settings.kind,
)

__all__ = ["OAUTH"]
