"""A `.env` file: the variables that Claude Code and the clouds' programs read, and nothing else of it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from broker.errors import ConfigError
from broker.integrations.importing.found import (
    ANTHROPIC,
    Found,
    Kept,
    NotCarried,
    Reading,
    at,
    aws_keys,
    check_is_here,
    key,
    options,
    released_for,
    shown,
    with_sessions,
)
from broker.secret import Secret, flaw

Variables = Mapping[str, str]

_REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
_LITELLM_URLS: Final = ("LITELLM_BASE_URL", "LITELLM_PROXY_URL", "LITELLM_API_BASE")
_LITELLM_FACES: Final = ("/anthropic", "/bedrock", "/vertex_ai/v1", "/v1")
_OTHERS_MAX: Final = 8

_ELSEWHERE: Final = {
    "CLAUDE_CODE_OAUTH_TOKEN": "a person's own sign-in to claude.ai is no API key; sign in by: claude /login",
    "GOOGLE_APPLICATION_CREDENTIALS": 'a file of Google\'s; name it as `credentials` of a source with type = "gcp"',
    "ANTHROPIC_CUSTOM_HEADERS": "Claude Code's own setting; see --header of: broker setup claude-code",
    "VAULT_TOKEN": 'name it as `auth` of a source with type = "vault"',
}
_USED: Final = frozenset(
    {"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL"}
    | {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN"}
    | {"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_SESSION_NAME", "AWS_BEARER_TOKEN_BEDROCK", *_REGIONS}
    | {"LITELLM_MASTER_KEY", "LITELLM_API_KEY", "LITELLM_PROXY_API_KEY", *_LITELLM_URLS}
)


def read(text: str, path: Path) -> Reading:
    """Read a file: values as they are written, nothing replaced or run in them. Raises `ConfigError`."""
    from dotenv import dotenv_values  # noqa: PLC0415  # only where one is read

    logging.getLogger(
        "dotenv.main"
    ).disabled = True  # it says which line it cannot read on stderr; we say nothing of it
    parsed = dotenv_values(stream=io.StringIO(text), interpolate=False)
    variables = {name: value for name, value in parsed.items() if value}
    if not variables:
        raise ConfigError([f"{path}: no variable in it; expected lines such as ANTHROPIC_API_KEY=..."])
    found, remarks = [], list(_remarks(variables))
    for name, make in _MAKERS.items():
        try:
            found += list(make(variables))
        except NotCarried as why:
            remarks.insert(0, f"{name}: {why}")
    return Reading(tuple(found), tuple(remarks))


def _remarks(variables: Variables) -> Iterator[str]:
    for name, why in _ELSEWHERE.items():
        if name in variables:
            yield f"{name}: {why}"
    others = [shown(name) for name in variables if name not in _USED and name not in _ELSEWHERE]
    if others:
        more = f" and {len(others) - _OTHERS_MAX} more" if len(others) > _OTHERS_MAX else ""
        yield f"{', '.join(others[:_OTHERS_MAX])}{more}: nothing that Claude Code signs in with"


def _anthropic(name: str, variable: str, variables: Variables) -> Iterator[Found]:
    models = options(
        model=variables.get("ANTHROPIC_MODEL", ""), small_fast_model=variables.get("ANTHROPIC_SMALL_FAST_MODEL", "")
    )
    if variable in variables:
        yield key(name, variables[variable], variables.get("ANTHROPIC_BASE_URL"), models)


def _aws(variables: Variables) -> Iterator[Found]:
    source: dict[str, Any] = {"type": "aws"}
    if region := _first(variables, _REGIONS):
        source["region"] = region
    about = ""
    if "AWS_ACCESS_KEY_ID" in variables or "AWS_SECRET_ACCESS_KEY" in variables:
        token = variables.get("AWS_SESSION_TOKEN", "")
        key_id, secret = (variables.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
        source |= with_sessions(aws_keys(key_id, secret, token))
        about = "its keys have a session token, so they end within hours" if token else ""
    elif "AWS_WEB_IDENTITY_TOKEN_FILE" in variables and "AWS_ROLE_ARN" in variables:
        source["web_identity_token"] = {"file": variables["AWS_WEB_IDENTITY_TOKEN_FILE"]}
        source["role_arn"] = variables["AWS_ROLE_ARN"]
        if "AWS_ROLE_SESSION_NAME" in variables:
            source["role_session_name"] = variables["AWS_ROLE_SESSION_NAME"]
    elif "AWS_PROFILE" in variables:
        source["profile"] = variables["AWS_PROFILE"]
    else:
        return
    setup = f"broker setup claude-code --credential NAME --provider bedrock{options(region=region)}"
    yield Found("aws-env", source=source, about=about, notes=(setup,))


def _bearer(variables: Variables) -> Iterator[Found]:
    text = variables.get("AWS_BEARER_TOKEN_BEDROCK")
    if text is not None:
        region = _first(variables, _REGIONS)
        if not region:
            raise NotCarried("without AWS_REGION nobody knows where it is good")
        found = key("bedrock", text, f"https://bedrock-runtime.{region}.amazonaws.com")
        setup = f"broker setup claude-code --credential NAME --provider bedrock --via bearer{options(region=region)}"
        yield replace(found, notes=(setup,))


def _litellm(variables: Variables) -> Iterator[Found]:
    url = _proxy(variables)
    virtual = _first(variables, ("LITELLM_API_KEY", "LITELLM_PROXY_API_KEY"))
    if virtual:
        yield key("litellm-key", virtual, url or _no_proxy(), " --provider litellm")


def _litellm_master(variables: Variables) -> Iterator[Found]:
    master = variables.get("LITELLM_MASTER_KEY")
    if master is None:
        return
    url = _proxy(variables) or _no_proxy()
    if (problem := flaw(master)) is not None:
        raise NotCarried(f"it {problem}")
    by_hand = f'type = "litellm", base_url = {json.dumps(url)}, master_key = {{ env = "VARIABLE" }}'
    check_is_here("it", master, f"write a source by hand: {by_hand}, which the daemon has to see")
    released_for(url)  # for its error
    table: dict[str, Any] = {"type": "litellm", "base_url": url, "master_key": Kept(Secret(master), "master-key")}
    if url.startswith("http:"):
        table["allow_http"] = True
    about = "it gives keys of an hour each, made with the master key, and never that itself"
    setup = f"broker setup claude-code --credential NAME{at(url)} --provider litellm"
    yield Found("litellm-keys", source=table, credential={"duration": "1h"}, about=about, notes=(setup,))


def _proxy(variables: Variables) -> str | None:
    """Find the address of a LiteLLM proxy; Anthropic's base URL is one's where it is not Anthropic's own."""
    url = (_first(variables, (*_LITELLM_URLS, "ANTHROPIC_BASE_URL"))).rstrip("/")
    for face in _LITELLM_FACES:
        url = url.removesuffix(face)
    return url if url and url != ANTHROPIC else None


def _no_proxy() -> str:
    raise NotCarried("without LITELLM_BASE_URL nobody knows where it is good")


def _first(variables: Variables, names: tuple[str, ...]) -> str:
    return next((variables[name] for name in names if name in variables), "")


_MAKERS: Final[Mapping[str, Callable[[Variables], Iterator[Found]]]] = {
    "ANTHROPIC_API_KEY": partial(_anthropic, "anthropic", "ANTHROPIC_API_KEY"),
    "ANTHROPIC_AUTH_TOKEN": partial(_anthropic, "anthropic-token", "ANTHROPIC_AUTH_TOKEN"),
    "AWS_ACCESS_KEY_ID": _aws,
    "AWS_BEARER_TOKEN_BEDROCK": _bearer,
    "LITELLM_API_KEY": _litellm,
    "LITELLM_MASTER_KEY": _litellm_master,
}
"""By the variable that a remark is about."""
