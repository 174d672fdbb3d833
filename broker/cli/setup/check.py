"""What `broker setup claude-code` asks the daemon: how long tokens live, and whether one comes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import click

from broker.background import with_daemon
from broker.cli.formats.aws import as_claude_export
from broker.cli.output import printable, span
from broker.client import Client, Token
from broker.engine.advice import YOUNG
from broker.errors import BrokerError, UnknownCredential
from broker.integrations.claude_code.release import Release
from broker.integrations.claude_code.routes import Route

_RELOADED_WITHIN_S: Final = 3.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long tokens live, None where that is endless or unknown; and what to tell about it."""

    seconds: float | None
    why: str


def lifetime(client: Client, release: Release, *, may_fetch: bool) -> Lifetime:
    """Learn it from the daemon; have it fetch a token, and start it, where none was seen and `may_fetch`."""
    name = release.credential.name
    if release.is_new:
        return Lifetime(None, "what is in the store has no expiry")
    try:
        seen = _seen(client, name)
        if not seen and may_fetch:
            with_daemon(client, lambda client: client.token(name))
            seen = _seen(client, name)
    except BrokerError:
        seen = {}  # why no token comes is told at the end
    if not seen:
        return Lifetime(None, f"no token of {name} was seen yet; run this again when one was")
    if seen["lifetime_s"] is None:
        return Lifetime(None, f"tokens of {name} have no expiry")
    return Lifetime(seen["lifetime_s"], f"tokens of {name} live {span(math.ceil(seen['lifetime_s']))}")


@dataclass(frozen=True, slots=True)
class Ttl:
    """The TTL that is set, why it is that one, and what speaks against it (both may be empty)."""

    seconds: float
    why: str = ""
    warning: str = ""


def ttl(client: Client, release: Release, given_s: float | None, *, may_fetch: bool) -> Ttl:
    """Choose the TTL by how long tokens live, or (`given_s`) hold a person's own against that."""
    seen = lifetime(client, release, may_fetch=may_fetch)
    fits_s = release.ttl_s(seen.seconds)
    if given_s is None:
        return Ttl(fits_s, f"ttl {span(fits_s)}: {seen.why}")
    if seen.seconds is None or release.holds(given_s, seen.seconds):
        return Ttl(given_s)
    kept = "ones that have expired" if given_s > seen.seconds else "ones that are about to expire"
    warning = f"{seen.why}, so with --ttl {span(given_s)} Claude Code keeps using {kept}; --ttl {fits_s:g}s fits"
    if not release.holds(fits_s, seen.seconds):
        warning += f', with min_validity = "{int(YOUNG * seen.seconds)}s" in [credentials.{release.credential.name}]'
    return Ttl(given_s, warning=warning)


def tell(client: Client, release: Release, route: Route) -> None:
    """Fetch the credential as a proof that everything works; print how it went."""
    name = release.credential.name
    what = "a token" if route.token else "a credential"
    try:
        left_s = with_daemon(client, lambda client: _left(client, name, route, is_new=release.is_new))
    except BrokerError as error:
        click.echo(f"broker: warning: {name} gives no {what[2:]} yet: {printable(str(error))}", err=True)
        return
    life = "no expiry" if left_s is None else f"{span(left_s)} left"
    click.echo(f"{name}: {what} is there ({life})")


def _seen(client: Client, name: str) -> Mapping[str, Any]:
    """Return the credential's status, where it holds or held a token; empty else. Raises what `Client` raises."""
    found = (entry for entry in client.status()["credentials"] if entry["name"] == name and entry["last_refresh_at"])
    return next(found, {})


def _left(client: Client, name: str, route: Route, *, is_new: bool) -> float | None:
    """Ask for it; return how long it lives on, in seconds, None for ever."""
    if route.token:
        return _token(client, name, is_new=is_new).expires_in_s
    credential = client.credential(name)
    if route.name == "bedrock/export":
        as_claude_export(credential, None)  # for its error
    expires_at = credential.get("expires_at")
    return None if expires_at is None else datetime.fromisoformat(expires_at).timestamp() - time.time()


def _token(client: Client, name: str, *, is_new: bool) -> Token:
    """Ask; a credential just added is known as soon as the daemon has read its config again."""
    deadline = time.monotonic() + _RELOADED_WITHIN_S
    while True:
        try:
            return client.token(name)
        except UnknownCredential:
            if not is_new or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
