"""A fake AWS, a source at it, and nothing of this machine's own AWS settings."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.secret import Secret
from broker.sources.aws.settings import AwsSettings, AwsSourceSettings
from broker.sources.aws.source import AwsSource, SessionFetcher, StoredFetcher
from broker.sources.references import Reference
from tests.fakes.aws import KEY_ID, FakeAws, fake_aws
from tests.fakes.context import FakeContext

ROLE = "arn:aws:iam::222222222222:role/claude"
SECRET_KEY = "fake-secret-key-0"


class Account:
    """A source at the fake, and its fetchers; by the keys of the user if nothing else is said."""

    def __init__(self, aws: FakeAws, **settings: Any) -> None:  # noqa: ANN401  # any setting
        self.aws = aws
        self.context = FakeContext()
        self.context.secrets.records["aws"] = Secret(SECRET_KEY)
        keys = {"access_key_id": KEY_ID, "secret_access_key": Reference(local="aws")}
        other = {"profile", "web_identity_token", "found"} & settings.keys()
        settings.pop("found", None)
        wanted = {"region": "eu-west-1", "endpoint_url": aws.address, **({} if other else keys), **settings}
        self.source = AwsSource(AwsSourceSettings(**wanted), self.context)

    def fetcher(self, **settings: Any) -> SessionFetcher | StoredFetcher:  # noqa: ANN401  # any setting
        """Bind a credential."""
        made = self.source.fetcher(AwsSettings(**settings), "work")
        assert isinstance(made, SessionFetcher | StoredFetcher)
        return made


Open = Callable[..., Account]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person without any AWS settings, on no instance."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    return tmp_path


@pytest.fixture
def aws() -> Iterator[FakeAws]:
    """An AWS of the test's own."""
    with fake_aws() as made:
        yield made


@pytest.fixture
async def account(aws: FakeAws) -> AsyncIterator[Open]:
    """Give `account(setting=...)`: a source at the fake."""
    opened: list[Account] = []

    def account_(**settings: Any) -> Account:  # noqa: ANN401  # any setting
        opened.append(Account(aws, **settings))
        return opened[-1]

    yield account_
    aws.gate.set()
    for one in opened:
        await one.source.close()
