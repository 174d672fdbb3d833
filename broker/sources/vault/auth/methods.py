"""The ways to sign in that are tested on a real server: one settings class each, with the call of hvac's it comes to.

What differs from hvac's own arguments: a secret is a reference, resolved before `sign_in` by the caller; `mount` is the
path the method is mounted at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from broker.sources.references import Reference
from broker.sources.vault.auth.base import Answer, Auth, Lent, check_file, check_mount, is_name, with_password

KUBERNETES_TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105  # a path


@dataclass(frozen=True, slots=True)
class Token(Lent):
    """A token."""

    token: Reference


@dataclass(frozen=True, slots=True)
class TokenFile(Lent):
    """The file that `vault login` and `bao login` write."""

    path: str = "~/.vault-token"

    def __post_init__(self) -> None:
        check_file("path", self.path)

    @property
    def inputs(self) -> Mapping[str, Reference]:
        """Read the file as any other."""
        return {"token": Reference(file=self.path)}


@dataclass(frozen=True, slots=True)
class AppRole(Auth):
    """`wrapping_role`: what `secret_id` names is a wrapping token, made for the role of this name."""

    role_id: str
    secret_id: Reference | None = None
    wrapping_role: str | None = None
    mount: str = "approle"

    def __post_init__(self) -> None:
        check_mount(self.mount)
        if self.wrapping_role is not None and (self.secret_id is None or not is_name(self.wrapping_role)):
            raise ValueError("wrapping_role must be a role's name, and belongs to a secret_id")

    @property
    def creation_path(self) -> str | None:
        """Where the wrapping token must have been made; None where there is none."""
        return f"auth/{self.mount}/role/{self.wrapping_role}/secret-id" if self.wrapping_role is not None else None

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in."""
        secret_id = secrets.get("secret_id")
        return client.auth.approle.login(self.role_id, secret_id, use_token=False, mount_point=self.mount)


@dataclass(frozen=True, slots=True)
class UserPass(Auth):
    """A user name and password of the server's own."""

    username: str
    password: Reference
    mount: str = "userpass"

    def __post_init__(self) -> None:
        check_mount(self.mount)

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in."""
        return with_password(client.auth.userpass, self, secrets)


@dataclass(frozen=True, slots=True)
class Ldap(Auth):
    """A user name and password of the company's directory."""

    username: str
    password: Reference
    mount: str = "ldap"

    def __post_init__(self) -> None:
        check_mount(self.mount)

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in."""
        return with_password(client.auth.ldap, self, secrets)


@dataclass(frozen=True, slots=True)
class Jwt(Auth):
    """A JWT of a provider that the server trusts."""

    role: str
    token: Reference
    mount: str = "jwt"
    follows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_mount(self.mount)

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in."""
        return client.auth.jwt.jwt_login(self.role, secrets["token"], use_token=False, path=self.mount)


@dataclass(frozen=True, slots=True)
class Kubernetes(Auth):
    """The pod's service account, whose projected token is read at each login."""

    role: str
    token_path: str = KUBERNETES_TOKEN
    mount: str = "kubernetes"
    follows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_mount(self.mount)
        check_file("token_path", self.token_path)

    @property
    def inputs(self) -> Mapping[str, Reference]:
        """Kubernetes mounts it 0644."""
        return {"jwt": Reference(file=self.token_path, shared=True)}

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in."""
        return client.auth.kubernetes.login(self.role, secrets["jwt"], use_token=False, mount_point=self.mount)


@dataclass(frozen=True, slots=True)
class Cert(Auth):
    """The source's `client_cert`; `name`: the only role to try."""

    name: str = ""
    mount: str = "cert"

    def __post_init__(self) -> None:
        check_mount(self.mount)

    def sign_in(self, client: Any, _secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in: hvac's own call would read the certificate's files again and verify by other rules than ours."""
        return client.adapter.login(f"/v1/auth/{self.mount}/login", use_token=False, json={"name": self.name})
