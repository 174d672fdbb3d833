"""A person's sign-in for a source whose `profile` has SSO: the AWS CLI's own, which botocore finds in its cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.errors import PermanentFetchError
from broker.sign_in import Invitation
from broker.sources.aws.calls import Calls, Doing
from broker.sources.aws.sso.identity import Sso
from broker.sources.aws.sso.settings import SsoSettings
from broker.sources.blocking import Blocking
from broker.sources.interface import Context


class SsoOfProfile:
    """What `aws sso login --profile P` does, without the AWS CLI. The profile is read when a person comes."""

    def __init__(self, calls: Calls, context: Context) -> None:
        self._calls = calls
        self._context = context
        self._sso: Sso | None = None

    async def begin_login(self, redirect_uri: str | None) -> Invitation:
        """Ask where the person is to go."""
        return await (await self._present()).begin_login(redirect_uri)

    async def finish_login(self, state: str, code: str | None) -> bool:
        """Keep the sign-in where botocore looks for it."""
        return await (self._sso or await self._present()).finish_login(state, code)

    async def logout(self) -> bool:
        """Sign out of it."""
        return await (await self._present()).logout()

    async def close(self) -> None:
        """Forget what is in memory."""
        if self._sso is not None:
            await self._sso.close()

    async def _present(self) -> Sso:
        await self.close()
        settings = await Blocking("aws sso").run(
            lambda: self._calls.worded(self._read, Doing("read the profile's SSO settings"))
        )
        self._sso = Sso(settings, self._calls.sdk, self._context)
        return self._sso

    def _read(self) -> SsoSettings:
        """Find what botocore would use: of the profile, or of the one that it takes its first keys from."""
        session = self._calls.sdk.session()
        profiles, name = session.full_config.get("profiles", {}), str(session.get_config_variable("profile"))
        seen: set[str] = set()
        while name not in seen and "sso_account_id" not in profiles.get(name, {}):
            seen.add(name)
            name = str(profiles.get(name, {}).get("source_profile", name))
        profile = profiles.get(name, {})
        if "sso_account_id" not in profile:
            raise PermanentFetchError(f"nobody signs in to AWS profile {name} by hand: it has no SSO settings")
        known = session.full_config.get("sso_sessions", {}).get(profile.get("sso_session"), {})
        try:
            return _settings({**profile, **known})
        except ValueError as error:
            raise PermanentFetchError(f"AWS profile {name}: {error}") from None


def _settings(profile: Mapping[str, Any]) -> SsoSettings:
    start_url = str(profile.get("sso_start_url", ""))
    return SsoSettings(
        start_url,
        str(profile.get("sso_region", "")),
        str(profile.get("sso_account_id", "")),
        str(profile.get("sso_role_name", "")),
        session=str(profile.get("sso_session", start_url)),  # a profile of old has no name for it
    )
