"""Ways to sign in that hvac has and that no test of ours has a real server for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from broker.sources.references import Reference
from broker.sources.vault.auth.base import Answer, Auth, check_mount, with_password


@dataclass(frozen=True, slots=True)
class GitHub(Auth):
    """A personal access token of GitHub's."""

    token: Reference
    mount: str = "github"

    def __post_init__(self) -> None:
        check_mount(self.mount)

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in."""
        return client.auth.github.login(secrets["token"], use_token=False, mount_point=self.mount)


@dataclass(frozen=True, slots=True)
class Okta(Auth):
    """A user name and password of Okta's."""

    username: str
    password: Reference
    mount: str = "okta"

    def __post_init__(self) -> None:
        check_mount(self.mount)

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in."""
        return with_password(client.auth.okta, self, secrets)


@dataclass(frozen=True, slots=True)
class Radius(Auth):
    """A user name and password of a RADIUS server's."""

    username: str
    password: Reference
    mount: str = "radius"

    def __post_init__(self) -> None:
        check_mount(self.mount)

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in."""
        return with_password(client.auth.radius, self, secrets)


@dataclass(frozen=True, slots=True)
class Aws(Auth):
    """An AWS identity, shown by a signed request. `server_id`: what the server wants signed in as well."""

    role: str
    access_key_id: str
    secret_access_key: Reference
    session_token: Reference | None = None
    region: str = "us-east-1"
    server_id: str | None = None
    mount: str = "aws"

    def __post_init__(self) -> None:
        check_mount(self.mount)

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in."""
        return client.auth.aws.iam_login(
            self.access_key_id,
            secrets["secret_access_key"],
            session_token=secrets.get("session_token"),
            header_value=self.server_id,
            role=self.role,
            use_token=False,
            region=self.region,
            mount_point=self.mount,
        )


@dataclass(frozen=True, slots=True)
class Gcp(Auth):
    """A Google identity, shown by a JWT (`gcloud auth print-identity-token`, an instance's identity)."""

    role: str
    jwt: Reference
    mount: str = "gcp"
    follows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_mount(self.mount)

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in."""
        return client.auth.gcp.login(self.role, secrets["jwt"], use_token=False, mount_point=self.mount)


@dataclass(frozen=True, slots=True)
class Azure(Auth):
    """A managed identity of Azure's, shown by a JWT."""

    role: str
    jwt: Reference
    subscription_id: str | None = None
    resource_group_name: str | None = None
    vm_name: str | None = None
    vmss_name: str | None = None
    mount: str = "azure"
    follows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_mount(self.mount)

    def sign_in(self, client: Any, secrets: Mapping[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Sign in."""
        return client.auth.azure.login(
            self.role,
            secrets["jwt"],
            subscription_id=self.subscription_id,
            resource_group_name=self.resource_group_name,
            vm_name=self.vm_name,
            vmss_name=self.vmss_name,
            use_token=False,
            mount_point=self.mount,
        )
