"""`gcp`: Google's identities, by every kind of credentials that google-auth knows."""

from __future__ import annotations

from typing import Final

from broker.sources.gcp.settings import GcpSettings, GcpSourceSettings, derived, kind
from broker.sources.gcp.source import GcpSource
from broker.sources.interface import Context, SourceType

_MAX_AGE_S: Final = 300.0
"""A secret of Secret Manager has no end: how long until a new version is noticed."""


def _open(settings: GcpSourceSettings, context: Context) -> GcpSource:
    made = GcpSource(settings, context)
    made.warm()  # else the first who asks waits for google-auth to load
    return made


GCP: Final = SourceType("gcp", GcpSourceSettings, GcpSettings, _open, max_age_s=_MAX_AGE_S, kind=kind, derived=derived)

__all__ = ["GCP"]
