"""What a person should know about a setup before it is done: what would win over it, and what would stop it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from broker.engine.destination import Known, Refused, Scope, SettingsFile, judge
from broker.integrations import aws_config, gcp_clients, textfile
from broker.integrations.claude_code import document, routes, settings, telemetry
from broker.integrations.claude_code.plan import Plan
from broker.integrations.claude_code.release import Release
from broker.integrations.claude_code.routes import Route

_LOOPBACK: Final = ("http://127.0.0.1", "http://localhost", "http://[::1]")


def warnings(
    scope: str, plan: Plan, release: Release, *, route: Route, project: Path, env: Mapping[str, str]
) -> Iterator[str]:
    """Give one line for each."""
    after = document.load(plan.after)
    switches = [keys[-1] for keys in (routes.USE_BEDROCK, routes.USE_VERTEX) if route.values.get(keys)]
    yield from settings.stronger(after, str(plan.file.path), env, switches, helper=route.token)
    yield from settings.overruling(scope, project, settings.HELPER if route.token else routes.EXPORT)
    # As a key it goes wherever Claude Code sends one, whatever it is: see `engine.policy.verdict`.
    kind = None if route.token else release.kind
    verdict = judge(_known(scope, plan, project, env), release.audience, frozenset(), kind)
    if isinstance(verdict, Refused):
        yield f"the audience guard would give no key out: {verdict.reason}"
    _, url = document.lookup(after, route.url_at)
    if isinstance(url, str) and url.startswith("http:") and not url.startswith(_LOOPBACK):
        yield "requests go over http: everybody on the way can read the key"
    if telemetry.is_off(plan.after, env):
        name = ".".join(telemetry.SWITCH)
        yield f'{name} in {plan.file.path} stays as you set it; set it to "{telemetry.ON}", {telemetry.REASON}'
    yield from _files(route, after, env)
    if scope == "project":
        yield f"{plan.file.path} is shared through git, and the helper's path is this machine's; for you alone: --scope local"


def _files(route: Route, after: Mapping[str, Any], env: Mapping[str, str]) -> Iterator[str]:
    """Name files that win over an endpoint, which no variable of ours can keep from it."""
    if route.face == "aws":
        profile = document.lookup(after, ("env", "AWS_PROFILE"))[1] or "default"
        if found := aws_config.before_endpoint(str(profile), env):
            yield f"profile {profile} in {found[0]} has {found[1]}, which wins over the endpoint; use --via export"
    if route.face == "gcp" and (path := gcp_clients.leftover(env)):
        yield f"{path} wins over the metadata server; use --via helper, or: gcloud auth application-default revoke"


def _known(scope: str, plan: Plan, project: Path, env: Mapping[str, str]) -> Known:
    """Put together what the guard would know of a Claude Code started here, after the setup."""
    whose = Scope.USER if scope == "user" else Scope.PROJECT
    files = [SettingsFile.read(str(plan.file.path), whose, plan.after.encode())]
    if scope != "user":
        path = settings.location("user", project, env)
        text = textfile.read(path).text
        files += [] if text is None else [SettingsFile.read(str(path), Scope.USER, text.encode())]
    return Known(str(project), tuple(files), initial=env)
