"""Whether a provider can be reached, and what time it has: for the doctor, and without any secret.

Loads `requests` when it is called.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from broker.durations import Duration
from broker.sources.oauth import metadata
from broker.sources.oauth.settings import OAuthSourceSettings


@dataclass(frozen=True, slots=True)
class Probed:
    """`trouble`: why there was no answer. `ahead_s`: by how much our clock is ahead of its, where it tells."""

    trouble: str | None = None
    ahead_s: float | None = None


def probe(settings: OAuthSourceSettings, timeout_s: float) -> Probed:
    """Ask for the metadata, or where there is none for whatever the token endpoint says to nobody. Blocks."""
    from broker.sources.oauth.errors import translated  # noqa: PLC0415  # see above
    from broker.sources.oauth.transport import ProviderTransport  # noqa: PLC0415  # see above

    url = metadata.addresses(settings.issuer)[0] if settings.issuer is not None else settings.token_url or ""
    server = replace(settings, timeout=Duration(timeout_s)).server(url)
    before = time.time()
    try:
        with ProviderTransport(server) as transport:
            answer = transport.get(url)
    except Exception as error:  # noqa: BLE001  # whatever the library raises
        return Probed(str(translated(error, server, "ask whether it is there")))
    return Probed(ahead_s=_ahead_s(answer.headers.get("Date", ""), before, time.time()))


def _ahead_s(date: str, before: float, after: float) -> float | None:
    """Compare with the answer's `Date`, which was written in between and counts whole seconds."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return before - theirs - 1 if before > theirs + 1 else min(0.0, after - theirs)
