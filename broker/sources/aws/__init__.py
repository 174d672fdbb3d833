"""`aws`: STS sessions, Bedrock API keys, Secrets Manager and Parameter Store, on botocore."""

from __future__ import annotations

from typing import Final

from broker.sources.aws.settings import AwsSettings, AwsSourceSettings
from broker.sources.aws.source import AwsSource
from broker.sources.interface import Context, SourceType

_MAX_AGE_S: Final = 300.0
"""A secret's new version, and another key of a user's, are noticed after so long; what ends by itself has its own time."""


def _open(settings: AwsSourceSettings, context: Context) -> AwsSource:
    made = AwsSource(settings, context)
    made.warm()  # else the first who asks waits for botocore to load
    return made


AWS: Final = SourceType(
    "aws",
    AwsSourceSettings,
    AwsSettings,
    _open,
    max_age_s=_MAX_AGE_S,
    kind=lambda settings: settings.yields,
)

__all__ = ["AWS"]
