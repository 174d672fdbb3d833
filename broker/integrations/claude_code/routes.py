"""The ways by which Claude Code reaches a model with a credential of ours, each as the settings that make it so.

Pure: from a person's choices to keys. What wins over what was measured on 2.1.197 and 2.1.330, and their own text says
the same: `awsCredentialExport` goes before every other source of AWS keys but the variable
with a ready-made bearer, and is run again after a 403; an endpoint comes last, after keys, profiles and web identity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from broker import audience
from broker.engine.destination.endpoints import PROVIDERS as KNOWN
from broker.errors import BadRequest
from broker.integrations.claude_code import document
from broker.integrations.claude_code.document import Keys
from broker.integrations.claude_code.settings import BASE_URL
from broker.model import Kind

VIAS: Final = {"bedrock": ("export", "endpoint", "bearer"), "vertex": ("helper", "metadata")}
"""How a provider's requests can be signed; the first is the most robust."""

EXPORT: Final[Keys] = ("awsCredentialExport",)
BEDROCK_URL: Final[Keys] = ("env", "ANTHROPIC_BEDROCK_BASE_URL")
VERTEX_URL: Final[Keys] = ("env", "ANTHROPIC_VERTEX_BASE_URL")
USE_BEDROCK: Final[Keys] = ("env", "CLAUDE_CODE_USE_BEDROCK")
USE_VERTEX: Final[Keys] = ("env", "CLAUDE_CODE_USE_VERTEX")
SKIP_BEDROCK: Final[Keys] = ("env", "CLAUDE_CODE_SKIP_BEDROCK_AUTH")
SKIP_VERTEX: Final[Keys] = ("env", "CLAUDE_CODE_SKIP_VERTEX_AUTH")
AWS_REGION: Final[Keys] = ("env", "AWS_REGION")
VERTEX_REGION: Final[Keys] = ("env", "CLOUD_ML_REGION")
VERTEX_PROJECT: Final[Keys] = ("env", "ANTHROPIC_VERTEX_PROJECT_ID")

PLACE: Final = re.compile(r"[a-z0-9](?:[a-z0-9.:-]{0,61}[a-z0-9])?", re.ASCII)
"""What the names of regions and projects are made of."""

ON: Final = "1"
_BEARER: Final = "AWS_BEARER_TOKEN_BEDROCK"
_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE")
_OTHER_ENDPOINT: Final = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
_GOOGLE: Final = ("GOOGLE_APPLICATION_CREDENTIALS", "google_application_credentials")
_PATHS: Final = {"anthropic": "/anthropic", "bedrock": "/bedrock", "vertex": "/vertex_ai/v1"}
"""Where LiteLLM passes requests through to each."""

_TOKENS: Final = frozenset({Kind.ACCESS_TOKEN, Kind.ID_TOKEN})
_AWS: Final = frozenset({Kind.AWS_SESSION})
_GOOGLE_TOKEN: Final = frozenset({Kind.ACCESS_TOKEN})


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person chose, and what the config and settings say where they did not. `base_url` is a plain one."""

    provider: str = "anthropic"
    via: str = ""
    upstream: str = "anthropic"
    base_url: str | None = None
    region: str | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One way. `name` tells it from the others in the record of a setup.

    `values` are set (None: taken out). `rivals` are variables that would win over it: emptied where somebody sets
    them, in the settings since these go before the environment. `url` is where requests go, None where nothing here
    says so. `kinds`: what a credential has to be, where its source says more than that it is an API key (a `command`
    may give anything). `token`: the helper gives Claude Code its token; `face` is the endpoint of ours that does
    otherwise. `url_at`: what redirects the requests.
    """

    name: str
    values: Mapping[Keys, str | None] = field(default_factory=dict)
    rivals: tuple[str, ...] = ()
    url: str | None = None
    kinds: frozenset[Kind] = _TOKENS
    token: bool = True
    face: str = ""
    url_at: Keys = BASE_URL


def choose(choices: Choices) -> Route:
    """Find the way that was chosen. Raises `BadRequest` for what does not go together, or misses."""
    if choices.base_url is not None:
        check_url(choices.base_url)
    for what, text in (("region", choices.region), ("project", choices.project)):
        # It becomes part of a URL that the credential is released for: AWS_REGION=x@evil.example/
        if text is not None and not PLACE.fullmatch(text):
            raise BadRequest(f"--{what}: what is set there (settings, shell) is none; say which")
    match choices.provider:
        case "bedrock":
            return _bedrock(choices)
        case "vertex":
            return _vertex(choices)
        case "litellm":
            return _litellm(choices)
    url = choices.base_url
    return Route("anthropic", {} if url is None else {BASE_URL: url}, url=url)


def with_rivals(route: Route, more: tuple[str, ...], text: str, env: Mapping[str, str]) -> dict[Keys, str | None]:
    """Give the route's values, and an empty one for each rival, and each of `more`, that the settings or `env` set."""
    try:
        own = document.load(text).get("env")
    except document.NotEditable:  # who edits the file says so
        own = None
    own = own if isinstance(own, dict) else {}
    seen = (name for name in (*route.rivals, *more) if own.get(name) or (env.get(name) and name not in own))
    return {**{("env", name): "" for name in seen}, **route.values}


def check_url(url: str) -> None:
    """Raise `BadRequest` for what is no address of one place."""
    if wrong := audience.problem(url):
        raise BadRequest(f"--base-url: {wrong}")
    if "*" in url:
        raise BadRequest("--base-url: one address, without *")


def _bedrock(choices: Choices) -> Route:
    if choices.region is None:
        raise BadRequest("--provider bedrock needs the region of its models: --region us-east-1")
    common: dict[Keys, str | None] = {USE_BEDROCK: ON, AWS_REGION: choices.region}
    url = choices.base_url or _own("ANTHROPIC_BEDROCK_BASE_URL", choices.region)
    if choices.base_url is not None:
        common[BEDROCK_URL] = choices.base_url
    if choices.via == "bearer":
        kinds = frozenset({Kind.BEDROCK_API_KEY})
        return Route("bedrock/bearer", common | {SKIP_BEDROCK: ON}, (_BEARER,), url, kinds, url_at=BEDROCK_URL)
    if choices.via == "export":
        rivals: tuple[str, ...] = (_BEARER, SKIP_BEDROCK[-1])
        return Route("bedrock/export", common, rivals, url, _AWS, token=False, url_at=BEDROCK_URL)
    common[EXPORT] = None  # it would win
    rivals = (_BEARER, SKIP_BEDROCK[-1], *_KEYS, *_OTHER_ENDPOINT)
    return Route("bedrock/endpoint", common, rivals, url, _AWS, token=False, face="aws", url_at=BEDROCK_URL)


def _vertex(choices: Choices) -> Route:
    common: dict[Keys, str | None] = _vertex_place(choices)
    url = choices.base_url or _own("ANTHROPIC_VERTEX_BASE_URL", choices.region or "")
    if choices.base_url is not None:
        common[VERTEX_URL] = choices.base_url
    if choices.via == "helper":
        values = common | {SKIP_VERTEX: ON}
        return Route("vertex/helper", values, (USE_BEDROCK[-1],), url, _GOOGLE_TOKEN, url_at=VERTEX_URL)
    more = (USE_BEDROCK[-1], SKIP_VERTEX[-1], *_GOOGLE)
    return Route("vertex/metadata", common, more, url, _GOOGLE_TOKEN, token=False, face="gcp", url_at=VERTEX_URL)


def _litellm(choices: Choices) -> Route:
    if choices.base_url is None:
        raise BadRequest("--provider litellm needs its address: --base-url https://HOST:4000")
    url = _below(choices.base_url, choices.upstream)
    name = f"litellm/{choices.upstream}"
    if choices.upstream == "bedrock":
        region: dict[Keys, str | None] = {} if choices.region is None else {AWS_REGION: choices.region}
        on: dict[Keys, str | None] = {USE_BEDROCK: ON, SKIP_BEDROCK: ON, BEDROCK_URL: url, **region}
        return Route(name, on, (_BEARER,), url, url_at=BEDROCK_URL)
    if choices.upstream == "vertex":
        values = _vertex_place(choices) | {SKIP_VERTEX: ON, VERTEX_URL: url}
        return Route(name, values, (USE_BEDROCK[-1],), url, url_at=VERTEX_URL)
    return Route(name, {BASE_URL: url}, url=url)


def _vertex_place(choices: Choices) -> dict[Keys, str | None]:
    if choices.project is None:
        raise BadRequest("Vertex needs the project that is billed: --project PROJECT_ID")
    if choices.region is None:
        raise BadRequest("Vertex needs the region of its models: --region global, or such as us-east5")
    return {USE_VERTEX: ON, VERTEX_REGION: choices.region, VERTEX_PROJECT: choices.project}


def _below(url: str, upstream: str) -> str:
    """Give LiteLLM's pass-through for this upstream, whether `url` names its address or already one of them."""
    known = next((path for path in sorted(_PATHS.values(), key=len, reverse=True) if url.endswith(path)), "")
    return url.removesuffix(known) + _PATHS[upstream]


def _own(variable: str, region: str) -> str:
    """Name the provider's own endpoint, as the audience guard does."""
    provider = next(provider for provider in KNOWN if provider.url == variable)
    assert provider.own is not None  # noqa: S101  # both that we ask for have one
    return provider.own(region)
