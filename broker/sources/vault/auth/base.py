"""What every way to sign in is."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from broker.sources.interface import Variants
from broker.sources.references import Reference

_MOUNT: Final = re.compile(r"[A-Za-z0-9_.@/-]{1,200}", re.ASCII)

Answer = Any
"""What a login answers: a JSON object whose `auth` is what counts."""


class Auth(Variants):
    """A way to sign in."""

    __slots__ = ()
    tag = "method"
    follows: ClassVar[bool] = True
    """Whether a changed secret is a reason to sign in anew at once; not where it is but the ticket for the next time."""

    @classmethod
    def variants(cls) -> Mapping[str, type]:
        """List the methods."""
        from broker.sources.vault.auth import METHODS  # noqa: PLC0415  # they are derived from this

        return METHODS

    @property
    def inputs(self) -> Mapping[str, Reference]:
        """The secrets that are needed, by the names that `sign_in` gets them by."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every variant is a dataclass
        given = {field.name: getattr(self, field.name) for field in fields}
        return {name: value for name, value in given.items() if isinstance(value, Reference)}

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in (blocking). Raises what hvac raises, or a `FetchError`."""
        raise NotImplementedError


class Lent(Auth):
    """A token that somebody else made, and that is not ours to revoke."""

    __slots__ = ()


def with_password(method: Any, settings: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
    """Sign in by `username` and `password` of `settings`."""
    return method.login(settings.username, secrets["password"], use_token=False, mount_point=settings.mount)


def check_mount(mount: str) -> None:
    """Raise `ValueError` where this is no mount's path."""
    if not is_name(mount) or {"", ".", ".."} & set(mount.split("/")):
        raise ValueError("mount must be a path such as approle, without auth/ in front")


def is_name(text: str) -> bool:
    """Whether this can stand in a path of the API."""
    return _MOUNT.fullmatch(text) is not None


def check_file(name: str, path: str) -> None:
    """Raise `ValueError` where this depends on a folder that nobody knows."""
    if not os.path.expanduser(path).startswith("/") or "\0" in path:  # noqa: PTH111  # Path.expanduser raises instead
        raise ValueError(f"{name} must be absolute or begin with ~/")
