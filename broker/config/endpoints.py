"""The `[endpoints]` tables: which faces for other programs listen, and where."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.config.structs import CredentialConfig, EndpointConfig, Endpoints, GcpEndpointConfig, SourceConfig
from broker.config.structure import Reader
from broker.config.wording import near
from broker.model import Kind
from broker.sources.interface import Pooling

_ADDRESS: Final = re.compile(r"(?P<host>[0-9.]+|\[[0-9A-Fa-f:]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
_PORT_MAX: Final = 65535
_EXPECTED: Final = 'expected a loopback address with a port, such as "127.0.0.1:0" (0: any free port)'
_SECTION: Final = "endpoints"
_NOT_GOOGLES: Final = frozenset({Kind.AWS_SESSION, Kind.BEDROCK_API_KEY})


@dataclass(frozen=True, slots=True)
class _Listen:
    listen: str


@dataclass(frozen=True, slots=True)
class _Gcp:
    listen: str
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class _Others:
    pass


_FACES: Final[Mapping[str, type]] = {"aws": _Listen, "gcp": _Gcp}


def read(section: Any, reader: Reader, credentials: Iterable[str]) -> Endpoints:  # noqa: ANN401  # as TOML has it
    """Read the tables; what is wrong is noted with `reader`. `credentials`: the names that the config has."""
    tables = _tables(section, reader)  # each by itself: what is wrong with one hides nothing of the other
    aws, gcp = (_place(tables[face].listen, reader, face) if face in tables else None for face in _FACES)
    named = tables["gcp"].credential if "gcp" in tables else None
    known = list(credentials)
    if named is not None and named not in known:
        reader.report((_SECTION, "gcp", "credential"), f"no such credential{near(named, known)}")
    return Endpoints(
        EndpointConfig(*aws) if aws is not None else None,
        GcpEndpointConfig(*gcp, named) if gcp is not None else None,
    )


def problems(
    listening: Endpoints, sources: Mapping[str, SourceConfig], credentials: Mapping[str, CredentialConfig]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find what is named to be served and cannot be, as far as its source tells: where, and what is wrong."""
    named = listening.gcp.credential if listening.gcp is not None else None
    if named is None or named not in credentials:  # `read` says so
        return
    source = sources[credentials[named].source]
    kind = source.type.kind(credentials[named].settings)
    keys = (_SECTION, "gcp", "credential")
    if isinstance(source.settings, Pooling):
        yield keys, f"{named} is a pool, which no endpoint serves; name one of its members"
    elif kind in _NOT_GOOGLES:
        yield keys, f"{named} is of kind {kind}, which Google's clients cannot use"


def _tables(section: Any, reader: Reader) -> dict[str, Any]:  # noqa: ANN401  # as TOML has it
    faces = {face: section[face] for face in _FACES if face in section} if isinstance(section, dict) else {}
    others = {key: section[key] for key in section if key not in faces} if faces else section
    reader.structure(others, _Others, _SECTION, also=frozenset(_FACES))
    read = {face: reader.structure(table, _FACES[face], _SECTION, face) for face, table in faces.items()}
    return {face: table for face, table in read.items() if table is not None}


def _place(text: str, reader: Reader, key: str) -> tuple[str, int] | None:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > _PORT_MAX or not _is_loopback(match["host"].strip("[]")):
        reader.report((_SECTION, key, "listen"), _EXPECTED)
        return None
    return match["host"].strip("[]"), int(match["port"])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
