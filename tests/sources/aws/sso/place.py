"""Sources at the fake Identity Center, for the tests of signing in there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from broker.model import Issued
from broker.sources.aws.settings import AwsSettings, AwsSourceSettings
from broker.sources.aws.source import AwsSource
from broker.sources.aws.sso.settings import SsoSettings
from broker.sources.interface import Fetcher
from tests.fakes.context import FakeContext
from tests.fakes.sso import ACCOUNT, REGION, ROLE, START_URL, FakeSso, file_of

FILE = file_of(START_URL)
BACK = "http://127.0.0.1:4711/oauth/callback"


@dataclass
class Place:
    """Sources at one Identity Center, each with a context of its own."""

    sso: FakeSso
    sources: list[AwsSource] = field(default_factory=list)

    def source(self, context: FakeContext | None = None, **settings: Any) -> AwsSource:  # noqa: ANN401  # any setting
        """Open one."""
        wanted = {"start_url": START_URL, "region": REGION, "account_id": ACCOUNT, "role_name": ROLE, **settings}
        made = AwsSource(
            AwsSourceSettings(sso=SsoSettings(**wanted), endpoint_url=self.sso.url, region="us-east-1"),
            context or FakeContext(),
        )
        self.sources.append(made)
        return made


def fetcher(source: AwsSource) -> Fetcher:
    """Bind the session itself."""
    return source.fetcher(AwsSettings(), "work")


async def by_device(source: AwsSource) -> bool:
    """Sign in by a code that is confirmed already."""
    invitation = await source.begin_login(None)
    return await source.finish_login(invitation.state, None)


def session_token(issued: Issued) -> str:
    """Reveal it."""
    return issued.parts["session_token"].reveal()
