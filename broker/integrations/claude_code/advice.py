"""What a person should know about a setup before it is done: what would win over it, and what would stop it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from broker import audience
from broker.engine.destination import Scope, SettingsFile
from broker.integrations.claude_code import document, settings
from broker.integrations.claude_code.plan import Plan
from broker.integrations.claude_code.release import Release
from broker.model import Kind

_LOOPBACK: Final = ("http://127.0.0.1", "http://localhost", "http://[::1]")


def warnings(scope: str, plan: Plan, release: Release, project: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Give one line for each."""
    after = document.load(plan.after)
    yield from settings.stronger(after, str(plan.file.path), env)
    yield from settings.overruling(scope, project)
    yield from _destination(after, release, env)
    if scope == "project":
        yield f"{plan.file.path} is shared through git, and the helper's path is this machine's; for you alone: --scope local"
    strict = SettingsFile.read(str(plan.file.path), Scope.USER, plan.after.encode())
    if strict.problem:
        # Claude Code may read it in another way than the guard, so the guard refuses what is not plain.
        yield f"{plan.file.path} {strict.problem}: the broker gives no key out until that is mended"


def _destination(after: Mapping[str, Any], release: Release, env: Mapping[str, str]) -> Iterator[str]:
    found, url = document.lookup(after, settings.BASE_URL)
    place = "these settings" if found else "your environment"
    if not found and not (url := env.get(settings.BASE_URL[-1])):
        (url,), place = audience.default(Kind.API_KEY), "Claude Code itself"
    name = release.credential.name
    if not isinstance(url, str) or not release.goes_to(url):
        yield f"requests go where {place} says, and {name} is not released for that; name the right place: --base-url URL"
    elif url.startswith("http:") and not url.startswith(_LOOPBACK):
        yield "requests go over http: everybody on the way can read the key"
