"""By which way a Claude Code gets the credential for Bedrock or Vertex, as far as settings and shell tell."""

from __future__ import annotations

import http.client
import ipaddress
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from broker.config import CredentialConfig
from broker.doctor.claude import Claude, Said
from broker.doctor.scene import Scene
from broker.errors import BrokerError
from broker.integrations.claude_code import routes
from broker.model import Kind

BEDROCK: Final = routes.USE_BEDROCK[-1]
VERTEX: Final = routes.USE_VERTEX[-1]
SKIP_BEDROCK: Final = routes.SKIP_BEDROCK[-1]
SKIP_VERTEX: Final = routes.SKIP_VERTEX[-1]
PROVIDERS: Final = {BEDROCK: "bedrock", VERTEX: "vertex"}
ENDPOINT: Final = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
ENDPOINT_TOKEN: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105  # the name of a variable
METADATA: Final = "GCE_METADATA_HOST"

_ASKED_WITHIN_S: Final = 2.0
_ERROR_MAX: Final = 4096

Way = Literal["", "export", "endpoint", "bearer"]


def bedrock_way(claude: Claude) -> Way:
    """Say how requests to Bedrock get a credential of ours; empty where they do not, or go elsewhere."""
    if not claude.is_on(BEDROCK):
        return ""
    if claude.is_on(SKIP_BEDROCK):
        helpers = claude.helpers()
        return "bearer" if helpers and helpers[0].is_ours else ""
    export = claude.export()
    if export is not None:
        return "export" if export.is_ours else ""
    return "endpoint" if _is_loopback(claude.variable(ENDPOINT)) else ""


def has_metadata(claude: Claude) -> bool:
    """Whether requests to Vertex get their token from a metadata server on this machine."""
    return claude.is_on(VERTEX) and not claude.is_on(SKIP_VERTEX) and _is_loopback(claude.variable(METADATA))


def signed_by_us(claude: Claude, switch: str) -> bool:
    """Whether the provider of this switch gets a credential of ours."""
    return bool(bedrock_way(claude)) if switch == BEDROCK else switch == VERTEX and has_metadata(claude)


def served(scene: Scene, claude: Claude) -> CredentialConfig | None:
    """Find the credential that Claude Code gets in the end, by whichever way."""
    way = bedrock_way(claude)
    if way == "export" and (export := claude.export()) is not None:
        return scene.credential(export.credential)
    if way == "endpoint":
        return scene.credential(endpoint_credential(claude))
    if has_metadata(claude):
        return scene.credential(metadata_credential(scene))
    return claude.served() or scene.credential(None)


def endpoint_credential(claude: Claude) -> str:
    """Name the credential in the address of `[endpoints.aws]`; empty for another address."""
    said = claude.variable(ENDPOINT)
    _, at, name = ((said.text if said is not None else None) or "").rpartition("/v1/aws/")
    return name if at else ""


def metadata_credential(scene: Scene) -> str | None:
    """Name the credential that the metadata server gives: that of its table, else the only one of Google's."""
    config = scene.good_config
    if config is None or config.endpoints.gcp is None:
        return None
    if config.endpoints.gcp.credential is not None:
        return config.endpoints.gcp.credential
    return next(
        (name for name in config.credentials if kind(scene, config.credentials[name]) is Kind.ACCESS_TOKEN), None
    )


def kind(scene: Scene, credential: CredentialConfig | None) -> Kind:
    """Say what a credential will be, as far as its source tells."""
    config = scene.good_config
    if config is None or credential is None:
        return Kind.API_KEY
    return config.sources[credential.source].type.kind(credential.settings)


@dataclass(frozen=True, slots=True)
class Face:
    """What the daemon says of an endpoint: the variables that lead there, and whether its tokens outlast it."""

    variables: dict[str, str]
    lasting: bool
    problem: str = ""


def face(scene: Scene, credential: str) -> Face:
    """Ask the daemon how a program would find a credential; `problem` where it would not."""
    try:
        answer: dict[str, Any] = scene.client.consumer(credential)
        return Face(dict(answer["set"]), bool(answer["lasting"]))
    except BrokerError as error:
        return Face({}, lasting=True, problem=str(error))
    except (KeyError, TypeError, ValueError):
        return Face({}, lasting=True, problem="the daemon's answer is not of this version; run: broker restart")


def refusal(url: str, token: str) -> str | None:
    """Ask an endpoint on this machine as an SDK does; say why it refuses, None where it answers. Reads no credential."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_ASKED_WITHIN_S)
    try:
        connection.request("GET", parts.path, headers={"Authorization": token})
        answer = connection.getresponse()
        if answer.status == http.client.OK:
            return None
        text = answer.read(_ERROR_MAX).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, ValueError):
        return "nobody answers there"
    finally:
        connection.close()
    return _message(text) or f"it answers {answer.status}"


def _message(text: str) -> str:
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict):
            return str(found.get("message") or "")
    return ""


def _is_loopback(said: Said | None) -> bool:
    """Whether it names a place on this machine, as ours are; another machine's is somebody else's."""
    if said is None or said.text is None:
        return False
    with suppress(ValueError):
        host = urlsplit(said.text if "://" in said.text else f"http://{said.text}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    return False
