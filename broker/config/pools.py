"""Pools: what may be a member of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker.config.structs import CredentialConfig, SourceConfig
from broker.model import Kind
from broker.sources.interface import Pooling

Sources = Mapping[str, SourceConfig]
Credentials = Mapping[str, CredentialConfig]


def problems(sources: Sources, credentials: Credentials) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find members that cannot be such, as far as they exist (`references.problems`): where, and what is wrong."""
    for name, source in sources.items():
        if isinstance(source.settings, Pooling):
            members = [credentials[member] for member in source.settings.members if member in credentials]
            keys = ("sources", name, "members")
            yield from ((keys, problem) for problem in _of(members, sources))


def _of(members: list[CredentialConfig], sources: Sources) -> Iterator[str]:
    first: tuple[str, Kind] | None = None
    for member in members:
        source = sources[member.source]
        if isinstance(source.settings, Pooling):
            yield f"{member.name} is a pool itself; name its members instead"
            continue
        kind = source.type.kind(member.settings)
        if kind is Kind.AWS_SESSION:
            yield f"{member.name} is of kind {kind}, which is no single token; a pool is of single tokens"
            continue
        first = first or (member.name, kind)
        if kind is not first[1]:
            yield f"{member.name} is of kind {kind}, and {first[0]} of kind {first[1]}; a pool is of one kind"
