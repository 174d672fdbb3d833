"""The whole of one `broker setup claude-code`, worked out before anything is changed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from broker import paths
from broker.background import with_daemon
from broker.cli.setup import check as checking
from broker.cli.setup.options import Asked
from broker.client import Client
from broker.errors import BadRequest, ConfigError
from broker.integrations import gcp_clients, installed_helper
from broker.integrations.claude_code import document, plan, release, routes, settings, telemetry
from broker.integrations.claude_code.release import Release
from broker.integrations.claude_code.routes import Route
from broker.model import Kind
from broker.sources import TYPES

if TYPE_CHECKING:
    from broker.integrations.claude_code.plan import Plan
    from broker.integrations.textfile import TextFile

_REGIONS: Final = {"bedrock": ("AWS_REGION", "AWS_DEFAULT_REGION"), "vertex": ("CLOUD_ML_REGION",)}
_PROJECTS: Final = {"vertex": ("ANTHROPIC_VERTEX_PROJECT_ID",)}
_FOUND_BY: Final = {"aws": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "gcp": "GCE_METADATA_HOST"}
_SOURCES: Final = {"bedrock": "aws", "vertex": "gcp"}


@dataclass(frozen=True, slots=True)
class Remarks:
    """Lines about the choices that were made for a person, and about those that they made; empty ones are none."""

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A setup that only has to be done."""

    plan: Plan
    release: Release
    route: Route
    remarks: Remarks


def prepare(scope: str, asked: Asked, client: Client, *, dry_run: bool) -> Prepared:
    """Work it out. Raises what its parts raise; nothing is changed then."""
    helper = installed_helper.path()
    if installed_helper.kind(helper) == "missing":
        raise ConfigError([f"{helper} is missing; reinstall the package"])
    file = plan.find(scope, Path.cwd(), os.environ)
    known = release.find(paths.config_path(), TYPES, asked.credential, None)
    route = _route(asked, known, file)
    _check(route, known)
    if route.face == "aws" and scope == "project":
        # Whoever clones it would have the token by which this user's programs ask here.
        raise BadRequest("--via endpoint writes a token, and these settings are shared through git; use --scope local")
    ground = plan.ground(file, route.name, paths.state_dir())
    url = None if asked.base_url is None and _said(ground, route.url_at[-1:]) else route.url
    found = known if url is None else release.find(paths.config_path(), TYPES, asked.credential, url)
    remarks = Remarks()
    values: dict[document.Keys, str] = {("env", name): text for name, text in asked.variables().items()}
    rivals: tuple[str, ...] = ()
    if route.token:
        values |= _by_helper(helper, asked, found, client, remarks, may_fetch=not dry_run)
        if telemetry.is_wanted(ground, url, os.environ):
            values[telemetry.SWITCH] = telemetry.ON
            remarks.notes.append(f"{telemetry.SWITCH[-1]}={telemetry.ON}: {telemetry.REASON}")
    elif route.face:
        shown, rivals = _by_face(found.credential.name, route, client, remarks, dry_run=dry_run)
        values |= {("env", name): text for name, text in shown.items()}
    else:
        values[routes.EXPORT] = settings.command(helper, "--aws", found.credential.name)
    wanted = {**routes.with_rivals(route, rivals, ground, os.environ), **values}
    return Prepared(plan.make(file, route.name, wanted, found.plan, paths.state_dir()), found, route, remarks)


def _by_helper(
    helper: Path, asked: Asked, found: Release, client: Client, remarks: Remarks, *, may_fetch: bool
) -> dict[document.Keys, str]:
    """Have the helper asked for the token, as long after the last time as tokens live."""
    ttl = checking.ttl(client, found, asked.ttl, may_fetch=may_fetch)
    remarks.notes.append(ttl.why)
    remarks.warnings.append(ttl.warning)
    named = () if asked.credential is None else (asked.credential,)
    return {settings.HELPER: settings.command(helper, *named), settings.TTL: str(round(ttl.seconds * 1000))}


def _by_face(
    name: str, route: Route, client: Client, remarks: Remarks, *, dry_run: bool
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Ask the daemon for the variables that lead to its endpoint, and for those that would lead elsewhere."""
    if dry_run:
        remarks.notes.append("the endpoint's address and token are asked of the daemon when it is done")
        return {}, ()
    answer: dict[str, Any] = with_daemon(client, lambda client: client.consumer(name))
    if _FOUND_BY[route.face] not in answer["set"]:  # what a command gives is known to the daemon alone
        raise BadRequest(
            f"{name} is not served at [endpoints.{route.face}], where {route.name} looks for it;"
            " check --credential and --provider"
        )
    if not answer["lasting"]:
        remarks.warnings.append(
            "there is no key at rest, so the endpoint's token ends with the daemon: run this again after a restart, or use another --via"
        )
    found: dict[str, str] = answer["set"]
    if address := found.get("GCE_METADATA_HOST"):
        found = gcp_clients.past_proxies(address, os.environ) | found
    return found, tuple(answer["unset"])


def _route(asked: Asked, known: Release, file: TextFile) -> Route:
    """Choose the way by what a person said, else by what is known of the credential, the settings, the shell."""
    vias = routes.VIAS.get(asked.provider, ())
    if asked.via is not None and asked.via not in vias:
        fits = f"one of {', '.join(vias)}" if vias else "without --via"
        raise BadRequest(f"--provider {asked.provider}: {fits}")
    if asked.upstream is not None and asked.provider != "litellm":
        raise BadRequest("--upstream goes with --provider litellm")
    cloud = asked.upstream if asked.provider == "litellm" else asked.provider
    text = file.text or ""
    own = known.region if asked.provider == "bedrock" else None
    usual = "bearer" if known.kind is Kind.BEDROCK_API_KEY else next(iter(vias), "")
    return routes.choose(
        routes.Choices(
            provider=asked.provider,
            via=asked.via or usual,
            upstream=asked.upstream or "anthropic",
            base_url=None if asked.base_url is None else asked.base_url.rstrip("/"),
            region=asked.region or own or _said(text, _REGIONS.get(cloud or "", ())),
            project=asked.project or _said(text, _PROJECTS.get(cloud or "", ())),
        )
    )


def _check(route: Route, known: Release) -> None:
    """Raise `BadRequest` for a credential that this way has no use for."""
    name, provider = known.credential.name, route.name.partition("/")[0]
    if known.is_new and provider in _SOURCES and route.name != "bedrock/bearer":
        source = _SOURCES[provider]
        raise BadRequest(
            f'{paths.config_path()} has no credential {name}; add [sources.{source}] with type = "{source}", and [credentials.{name}] with source = "{source}"'
        )
    if known.kind is not Kind.API_KEY and known.kind not in route.kinds:
        raise BadRequest(f"{name} is of kind {known.kind}, and {route.name} needs {' or '.join(sorted(route.kinds))}")
    region = route.values.get(routes.AWS_REGION)
    if known.kind is Kind.BEDROCK_API_KEY and known.region is not None and known.region != region:
        raise BadRequest(f"{name} is a key for {known.region} alone; leave out --region, or change it in the config")


def _said(text: str, names: tuple[str, ...]) -> str | None:
    """Find the first of these variables that the settings, else the shell, set to something."""
    try:
        own = document.load(text).get("env")
    except document.NotEditable:  # who edits the file says so
        own = None
    own = own if isinstance(own, dict) else {}
    found = (own.get(name, os.environ.get(name)) for name in names)
    return next((value for value in found if isinstance(value, str) and value), None)
