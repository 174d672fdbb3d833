"""The AWS config of a person: whose keys a profile gives, and our `credential_process` put into one, all else kept.

The files are read as botocore reads them (`botocore.configloader`), sections as it names profiles; which of a profile's
keys win over a `credential_process` is the order of botocore's chain and of the JavaScript SDK's `fromIni`.
"""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from broker.errors import ConfigError
from broker.integrations import textfile
from broker.integrations.textfile import FileProblem

PROCESS: Final = "credential_process"
PROFILE: Final = re.compile(r"[A-Za-z0-9_][\w.@+:/-]{0,127}", re.ASCII)
"""What a profile may be called here: names that need no quotes in a section's heading."""

STRONGER: Final = (
    "aws_access_key_id",
    "role_arn",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "sso_account_id",
    "login_session",
)
"""Keys of a profile that win over its `credential_process`, or are taken instead by some SDK."""

Profile = Mapping[str, str]


def config_path(env: Mapping[str, str]) -> Path:
    """Name the file of profiles. Raises `ConfigError` without a home."""
    return _named("AWS_CONFIG_FILE", "config", env)


def credentials_path(env: Mapping[str, str]) -> Path:
    """Name the file of keys. Raises `ConfigError` without a home."""
    return _named("AWS_SHARED_CREDENTIALS_FILE", "credentials", env)


def profiles(text: str, path: Path, *, bare: bool = False) -> dict[str, Profile]:
    """Return every profile's keys. `bare`: sections are called as the profiles, as in the file of keys.

    Raises `ConfigError` for what botocore would not read either; the line quotes nothing of the file.
    """
    parser = configparser.RawConfigParser(default_section="\0", allow_no_value=True)
    try:
        parser.read_string(text)
    except (configparser.Error, AttributeError) as error:  # the latter: a line that goes on from a key without a value
        line = getattr(error, "lineno", None)
        raise ConfigError([f"{path}{f':{line}' if line else ''}: AWS's programs could not read this file"]) from None
    found: dict[str, Profile] = {}
    for section in parser.sections():
        name = section if bare else _profile(section)
        if name is not None:
            found[name] = {key: value or "" for key, value in parser[section].items()}
    return found


def stronger(profile: Profile) -> Iterator[str]:
    """Name what in a profile wins over its `credential_process`."""
    return (key for key in STRONGER if profile.get(key))


def before_endpoint(name: str, env: Mapping[str, str]) -> tuple[Path, str] | None:
    """Find what an SDK takes of a profile before it asks any endpoint: the file, and its key there; None for nothing.

    A file that cannot be read says nothing here.
    """
    for find, bare in ((config_path, False), (credentials_path, True)):
        try:
            path = find(env)
            profile = profiles(textfile.read(path).text or "", path, bare=bare).get(name, {})
        except (ConfigError, FileProblem):
            continue
        for key in (*stronger(profile), *([PROCESS] if profile.get(PROCESS) else [])):
            return path, key
    return None


def with_process(text: str, path: Path, profile: str, command: str) -> str:
    """Make `command` the profile's `credential_process`: in its old place, else at the head of its section.

    Raises `ConfigError`.
    """
    from configupdater import ConfigUpdater  # noqa: PLC0415  # only where a file is edited

    profiles(text, path)  # for its errors
    document = ConfigUpdater(allow_no_value=True)
    document.read_string(_lines(text))
    section = next((name for name in document.sections() if _profile(name) == profile), None)
    if section is None:
        section = "default" if profile == "default" else f"profile {profile}"
        document.add_section(section)
    if document.has_option(section, PROCESS):
        document[section][PROCESS].value = command
    else:
        document[section].insert_at(0).option(PROCESS, command)
    return _checked(text, str(document), path, {profile: {**profiles(text, path).get(profile, {}), PROCESS: command}})


def without_process(text: str, path: Path, profile: str, *, section_too: bool) -> str:
    """Take the profile's `credential_process` out; with `section_too` its section, where nothing else is in it.

    Raises `ConfigError`.
    """
    from configupdater import ConfigUpdater  # noqa: PLC0415  # as above

    document = ConfigUpdater(allow_no_value=True)
    document.read_string(_lines(text))
    for section in document.sections():
        if _profile(section) == profile:
            document.remove_option(section, PROCESS)
            if section_too and not document[section].options():
                document.remove_section(section)
    left = {key: value for key, value in profiles(text, path).get(profile, {}).items() if key != PROCESS}
    is_gone = section_too and not left
    return _checked(text, str(document), path, {} if is_gone else {profile: left}, {profile} if is_gone else set())


def _checked(
    before: str, after: str, path: Path, changed: Mapping[str, Profile], gone: set[str] | frozenset[str] = frozenset()
) -> str:
    """Read the result back: where it does not say exactly what was meant, the file is left alone."""
    after = after.replace("\n", "\r\n") if "\r\n" in before else after
    meant = {name: keys for name, keys in profiles(before, path).items() if name not in gone} | dict(changed)
    if profiles(after, path) != meant:
        raise ConfigError([f"{path}: this layout cannot be edited safely; edit {PROCESS} by hand"])
    return after


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")


def _profile(section: str) -> str | None:
    """Name the profile of a section's heading, as botocore does; None for another kind of section."""
    try:
        words = shlex.split(section)
    except ValueError:
        return None
    if words == ["default"]:
        return "default"
    return words[1] if len(words) == 2 and words[0] == "profile" else None  # noqa: PLR2004  # `profile NAME`


def _named(variable: str, name: str, env: Mapping[str, str]) -> Path:
    if given := env.get(variable):
        return Path(given).expanduser().absolute()
    if home := env.get("HOME"):
        return Path(home).absolute() / ".aws" / name
    raise ConfigError([f"neither HOME nor {variable} is set, so AWS's files cannot be found; set HOME"])
