"""How programs that use Google's client libraries are told of the broker: variables, and an external account's file.

Read off google-auth 2.x (`_default.py`, `compute_engine/_metadata.py`, `pluggable.py`), gcp-metadata and
google-auth-library (npm), and the Google Cloud CLI (`gce_read.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from broker.errors import BadRequest

UNWANTED: Final = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "google_application_credentials",
    "GOOGLE_CREDENTIALS",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT",
    "NO_GCE_CHECK",
    "GCE_METADATA_MTLS_MODE",
)
"""What would win over the metadata server, or keep programs from it: the libraries', Terraform's, gcloud's."""

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")

ALLOW: Final = "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"
"""Must be "1" in the environment of a client, else it runs no executable of a credentials file's."""

TIMEOUT_MS: Final = 30_000
_AUDIENCE: Final = "//broker.invalid/claude-credential-broker"
"""Of no pool of Google's: with one, clients ask Google about it."""

_AMBIGUOUS: Final = "\"'\\$`"


def variables(address: str, facts: Mapping[str, str]) -> dict[str, str]:
    """Give the variables by which programs find a metadata server at `address`; `facts`: what is known of the account.

    Python asks `GCE_METADATA_IP` for its detection and `GCE_METADATA_HOST` for the rest, Node the first that is set,
    gcloud and older libraries `GCE_METADATA_ROOT`. Node is to detect nothing: it remembers a failure for its life.
    """
    found = dict.fromkeys(("GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT"), address)
    found["METADATA_SERVER_DETECTION"] = "assume-present"
    if project := facts.get("project_id"):
        found |= dict.fromkeys(("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"), project)
    if quota_project := facts.get("quota_project"):
        found["GOOGLE_CLOUD_QUOTA_PROJECT"] = quota_project
    return found


def past_proxies(address: str, env: Mapping[str, str]) -> dict[str, str]:
    """Keep programs from asking a proxy for `address`, where their environment names any: Google's libraries would."""
    if not any(env.get(name) or env.get(name.upper()) for name in _PROXIES):
        return {}
    host = address.rpartition(":")[0].strip("[]")
    known = env.get("no_proxy") or env.get("NO_PROXY") or ""
    listed = [name.strip() for name in known.split(",") if name.strip()]
    if "*" in listed or host in listed:
        return {}
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join([*listed, host]))


def external_account(command: Sequence[str], address: str, facts: Mapping[str, str]) -> dict[str, Any]:
    """Give the content of a credentials file whose tokens come from the exchange of `[endpoints.gcp]` at `address`.

    `command` is to print the subject token: `/path/to/broker export NAME --format gcp-executable`. The file holds no
    secret. It is found by `GOOGLE_APPLICATION_CREDENTIALS`, and works where `ALLOW` is set too. Raises `BadRequest`
    where clients could not run the command.
    """
    content: dict[str, Any] = {
        "type": "external_account",
        "audience": _AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"http://{address}/v1/token",
        "credential_source": {"executable": {"command": _line(command), "timeout_millis": TIMEOUT_MS}},
    }
    if quota_project := facts.get("quota_project"):
        content["quota_project_id"] = quota_project
    return content


def leftover(env: Mapping[str, str]) -> Path | None:
    """Name gcloud's file of application default credentials, if it is there: it wins over any metadata server."""
    folder = env.get("CLOUDSDK_CONFIG") or (f"{env['HOME']}/.config/gcloud" if env.get("HOME") else "")
    path = Path(folder, "application_default_credentials.json")
    try:
        return path if folder and path.is_file() else None
    except OSError:
        return None


def is_ours(text: str) -> bool:
    """Whether a credentials file is one of `external_account`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("audience") == _AUDIENCE


def _line(command: Sequence[str]) -> str:
    """Write a command as every library splits it: Python by a shell's rules, Node at blanks outside double quotes."""
    for word in command:
        if not word or not word.isprintable() or any(mark in word for mark in _AMBIGUOUS):
            raise BadRequest(f"{word!r}: Google's clients cannot run a command with such characters in it")
    return " ".join(f'"{word}"' if " " in word else word for word in command)
