"""A sign-in by the AWS CLI's own profiles."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.credentials import SSOProvider
from botocore.tokens import SSOTokenProvider

from broker.errors import LoginRequired, PermanentFetchError
from broker.sources.aws.session import Session
from broker.sources.aws.settings import AwsSourceSettings
from broker.sources.aws.source import AwsSource
from tests.contracts.source_contract import failure
from tests.fakes.context import FakeContext
from tests.fakes.sso import ACCOUNT, REGION, ROLE, START_URL, FakeSso, file_of, written
from tests.sources.aws.sso.place import FILE, by_device, fetcher, session_token


async def test_a_profile_with_sso_is_signed_in_to_as_by_the_aws_cli(
    sso: FakeSso, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Botocore finds, and refreshes, what either has left; when that has ended, both commands are named."""
    for name in ("SSO", "SSO_OIDC"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", sso.url)
    for provider in (SSOProvider, SSOTokenProvider):  # they have looked for the home when they were loaded
        monkeypatch.setattr(provider, "_SSO_TOKEN_CACHE_DIR", str(home / ".aws/sso/cache"))
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(
        f"[sso-session corp]\nsso_start_url = {START_URL}\nsso_region = {REGION}\n"
        f"[profile me]\nsso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = {ROLE}\nregion = us-east-1\n"
    )
    source = AwsSource(AwsSourceSettings(profile="me"), FakeContext())
    monkeypatch.setattr(source.chain, "_identified", _as_it_is)
    made = fetcher(source)
    error = await failure(made)
    assert isinstance(error, LoginRequired)
    assert str(error).endswith("run: aws sso login --profile me (or: broker login corp)")
    sso.token_s = 600
    assert await by_device(source)
    assert list(written(home)) == [file_of("corp")]
    assert session_token(await made.fetch())
    assert sso.calls["CreateToken"] == 2
    sso.end()
    source.chain.forget()
    assert isinstance(await failure(made), LoginRequired)
    sso.sign_in(home, "corp")
    assert made.changed()
    assert session_token(await made.fetch())
    assert await source.logout()
    assert not written(home)
    await source.close()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("", "it has no SSO settings|there is no AWS profile me"),
        ("[profile me]\nregion = us-east-1\n", "it has no SSO settings"),
        ("[profile me]\nsource_profile = you\n[profile you]\nsource_profile = me\n", "it has no SSO settings"),
        ("[profile me]\nsso_account_id = 1\nsso_start_url = https://x.example\n", "AWS profile me: region must"),
        ("[profile", "cannot be read as an AWS config file"),
    ],
)
async def test_a_profile_without_sso_says_so(sso: FakeSso, home: Path, config: str, says: str) -> None:
    """To who wants to sign in to it."""
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(config)
    source = AwsSource(AwsSourceSettings(profile="me"), FakeContext())
    for asking in (source.begin_login(None), source.finish_login("x", None), source.logout()):
        with pytest.raises(PermanentFetchError, match=says):
            await asking
    await source.close()


async def test_a_profile_of_old_is_found_by_the_start_url(sso: FakeSso, home: Path) -> None:
    """Also where a role is assumed by it."""
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(
        f"[profile base]\nsso_start_url = {START_URL}\nsso_region = {REGION}\n"
        f"sso_account_id = {ACCOUNT}\nsso_role_name = {ROLE}\n"
        f"[sso-session other]\nsso_start_url = {START_URL}\nsso_region = {REGION}\n"
        "[profile me]\nrole_arn = arn:aws:iam::111111111111:role/x\nsource_profile = base\n"
    )
    source = AwsSource(AwsSourceSettings(profile="me", endpoint_url=sso.url), FakeContext())
    assert await by_device(source)
    assert list(written(home)) == [FILE]
    await source.close()


async def test_other_identities_have_no_sign_in() -> None:
    """They say so."""
    source = AwsSource(AwsSourceSettings(), FakeContext())
    assert source.sign_in is None
    with pytest.raises(PermanentFetchError, match="neither `sso` nor a profile"):
        await source.begin_login(None)
    await source.close()


async def _as_it_is(session: Session) -> Session:
    """Ask no STS."""
    return session
