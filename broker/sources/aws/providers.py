"""botocore's chain of places to find an identity in, where it differs from botocore's own.

A profile's `credential_process` runs by the rules of our `command` source (no `AWS_*` in its environment, a deadline,
a path that nobody else can write); nobody is asked for an MFA code on a terminal; and the broker is no identity.

Loads botocore: import it from a thread, at the first call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from botocore.compat import compat_shell_split
from botocore.credentials import (
    AssumeRoleProvider,
    CanonicalNameCredentialSourcer,
    ContainerProvider,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    ProfileProviderBuilder,
    RefreshableCredentials,
    create_credential_resolver,
)
from botocore.utils import ContainerMetadataFetcher

from broker.errors import PermanentFetchError
from broker.model import Issued, Kind
from broker.sources.aws import ourselves
from broker.sources.aws.sdk import Library

Run = Callable[[tuple[str, ...]], Issued]
"""Runs a command and reads what it prints."""

_PROCESS: Final = "custom-process"
_SOURCES: Final = ("env", "container-role", "iam-role")
"""What `credential_source` of a profile may name."""


def resolver(
    session: Library, cache: dict[str, Any], *, client: Callable[..., Library], run: Run, code: Callable[[str], str]
) -> Library:
    """Make the chain for this session.

    `cache`: gets the answers of STS. `client`: creates clients as botocore's `create_client` does; `code`: called for an MFA code.
    """
    made = create_credential_resolver(session, cache, region_name=session.get_config_variable("region"))
    profile = session.get_config_variable("profile") or "default"
    _replace(made, _Container(fetcher=_Guarded()))
    _replace(made, _Process(profile, session, run))
    roles = AssumeRoleProvider(
        load_config=lambda: session.full_config,
        client_creator=client,
        cache=cache,
        profile_name=profile,
        prompter=code,
        credential_sourcer=CanonicalNameCredentialSourcer(
            [provider for provider in made.providers if provider.METHOD in _SOURCES]
        ),
        profile_provider_builder=_Builder(session, cache, run),
    )
    _replace(made, roles)
    return made


def _replace(chain: CredentialResolver, provider: Any) -> None:  # noqa: ANN401  # one of botocore's
    chain.insert_after(provider.METHOD, provider)
    chain.remove(provider.METHOD)  # the first of that name


class _Builder(ProfileProviderBuilder):  # type: ignore[misc]  # botocore has no types
    """Gives what a `source_profile` may hold."""

    def __init__(self, session: Library, cache: dict[str, Any], run: Run) -> None:
        super().__init__(session, cache=cache, region_name=session.get_config_variable("region"))
        self._library = session
        self._run = run

    def providers(self, profile_name: str, disable_env_vars: bool = False) -> list[Any]:  # noqa: FBT001, FBT002  # botocore's signature
        """Put our way to run a process in place of botocore's."""
        found = super().providers(profile_name, disable_env_vars)
        ours = _Process(profile_name, self._library, self._run)
        return [ours if provider.METHOD == _PROCESS else provider for provider in found]


class _Process(CredentialProvider):  # type: ignore[misc]  # botocore has no types
    METHOD = _PROCESS

    def __init__(self, profile: str, session: Library, run: Run) -> None:
        self._profile = profile
        self._library = session
        self._run = run

    def load(self) -> Any:  # noqa: ANN401  # botocore's credentials
        """Run the profile's command, if it has one."""
        command = self._library.full_config.get("profiles", {}).get(self._profile, {}).get("credential_process")
        if not command:
            return None
        if ourselves.is_program(command):
            # Else each ask starts a process that asks, until none can be started.
            raise PermanentFetchError(
                f"profile {self._profile}: its credential_process is this broker itself; give the source another profile"
            )
        return _credentials(self._run(tuple(compat_shell_split(command))), self._profile)


def _credentials(issued: Issued, profile: str) -> Any:  # noqa: ANN401  # botocore's credentials
    if issued.kind is not Kind.AWS_SESSION:
        raise PermanentFetchError(f"profile {profile}: its credential_process prints no AWS keys")
    names = ("access_key_id", "secret_access_key", "session_token")
    parts = [issued.parts[name].reveal() if name in issued.parts else None for name in names]
    account = issued.details.get("account_id")
    if issued.expires_at is None:
        return Credentials(*parts, method=_PROCESS, account_id=account)
    from datetime import UTC, datetime  # noqa: PLC0415

    return RefreshableCredentials(
        *parts,
        expiry_time=datetime.fromtimestamp(issued.expires_at, UTC),
        refresh_using=None,
        method=_PROCESS,
        advisory_timeout=0,  # it has just been run: short-lived keys are no reason to run it again
        mandatory_timeout=0,
        account_id=account,
    )


class _Container(ContainerProvider):  # type: ignore[misc]  # botocore has no types
    """The same, by our fetcher."""


class _Guarded(ContainerMetadataFetcher):  # type: ignore[misc]  # botocore has no types
    def retrieve_full_uri(self, full_url: str, headers: Any = None) -> Any:  # noqa: ANN401  # botocore's signature
        """Ask, unless it would be ourselves."""
        if ourselves.listens_at(full_url):
            raise PermanentFetchError(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI of the daemon's environment is this broker's own endpoint;"
                " start it without (broker restart in a clean shell), or give the source a profile"
            )
        return super().retrieve_full_uri(full_url, headers)
