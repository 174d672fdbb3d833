"""AWS's shared credentials or config file: each profile with keys, and each role that begins with one, is a source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from broker.errors import ConfigError
from broker.integrations.aws_config import Profile, profiles
from broker.integrations.importing.found import Found, NotCarried, Reading, aws_keys, options, shown

Profiles = Mapping[str, Profile]

_CONFIG: Final = re.compile(r"^\[ *profile[ \t]", re.MULTILINE)
"""What the config file has, and the credentials file never."""
_STATIC: Final = "aws_access_key_id"
_CHAIN_MAX: Final = 8
_STAYS: Final = {
    "sso_session": "a sign-in by SSO",
    "sso_start_url": "a sign-in by SSO",
    "login_session": "a sign-in by the console",
    "credential_process": "keys of a program",
    "web_identity_token_file": "a web identity",
}
"""What is no secret of this file's, and goes on working where it is."""


def read(text: str, path: Path) -> Reading:
    """Read a file. Raises `ConfigError`."""
    found = profiles(text, path, bare=_CONFIG.search(text) is None)
    if not found:
        raise ConfigError([f"{path}: no profile in it; expected sections such as [default]"])
    made, remarks = [], []
    for name, profile in found.items():
        try:
            made.append(Found(name, source=_source(name, found), about=_about(profile), notes=_next(name)))
        except NotCarried as why:
            remarks.append(f"profile {shown(name)}: {why}")
    return Reading(tuple(made), tuple(remarks))


def _next(name: str) -> tuple[str, ...]:
    """Say what has every program that uses the profile ask the broker, once its keys are gone from the file."""
    profile = options(profile=name)
    return (f"broker setup aws --credential NAME{profile}",) if profile else ()


def _source(name: str, found: Profiles) -> dict[str, Any]:
    """Write the source of one profile: where it begins, and the roles from there on."""
    chain = _chain(name, found)
    roles = [_role(found[step]) for step in chain if found[step].get("role_arn")]
    beginning = _beginning(chain[0], found)
    region = next((found[step]["region"] for step in reversed(chain) if found[step].get("region")), None)
    table = {"type": "aws", **beginning, **({"region": region} if region else {})}
    if len(roles) > 1:
        table["via"] = roles[:-1]
    return table | (roles[-1] if roles else {})


def _chain(name: str, found: Profiles) -> list[str]:
    """List the profiles that lead to this one, the first one first. Raises `NotCarried`."""
    chain = [name]
    while (before := found[chain[0]].get("source_profile")) and found[chain[0]].get("role_arn"):
        if before == chain[0] and found[before].get(_STATIC):
            break  # it may begin with its own keys
        if before in chain or len(chain) > _CHAIN_MAX:
            raise NotCarried("its source_profile comes back to itself")
        if before not in found:
            break
        chain.insert(0, before)
    return chain


def _beginning(name: str, found: Profiles) -> dict[str, Any]:
    profile = found[name]
    if profile.get("mfa_serial"):
        raise NotCarried("it wants MFA; add mfa_serial and mfa_code to a source by hand")
    if _STATIC in profile or "aws_secret_access_key" in profile:
        token = profile.get("aws_session_token", "")
        return aws_keys(profile.get(_STATIC, ""), profile.get("aws_secret_access_key", ""), token)
    stays = next((what for field, what in _STAYS.items() if profile.get(field)), None)
    if stays is not None:
        raise NotCarried(f'{stays}, and no secret of this file\'s; use it where it is: type = "aws", profile = ...')
    if profile.get("credential_source"):
        return {}  # the machine's own role, which is found without a word
    if profile.get("source_profile") and profile.get("role_arn"):
        return {"profile": profile["source_profile"]}
    raise NotCarried("it has no keys")


def _role(profile: Profile) -> dict[str, Any]:
    """Write one role in our words."""
    if profile.get("mfa_serial"):
        raise NotCarried("it wants MFA; add mfa_serial and mfa_code to a source by hand")
    role = {name: profile[name] for name in ("role_arn", "external_id", "role_session_name") if profile.get(name)}
    if profile.get("duration_seconds"):
        role["duration"] = f"{profile['duration_seconds']}s"
    return role


def _about(profile: Profile) -> str:
    return "its keys have a session token, so they end within hours" if profile.get("aws_session_token") else ""
