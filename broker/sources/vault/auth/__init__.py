"""How to sign in: the settings class of each `auth = { method = "..." }`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker.sources.vault.auth.base import Auth, Lent
from broker.sources.vault.auth.methods import AppRole, Cert, Jwt, Kubernetes, Ldap, Token, TokenFile, UserPass
from broker.sources.vault.auth.oidc import Oidc
from broker.sources.vault.auth.other import Aws, Azure, Gcp, GitHub, Okta, Radius

METHODS: Final[Mapping[str, type[Auth]]] = {
    "token": Token,
    "token-file": TokenFile,
    "approle": AppRole,
    "userpass": UserPass,
    "ldap": Ldap,
    "jwt": Jwt,
    "kubernetes": Kubernetes,
    "cert": Cert,
    "oidc": Oidc,
    "github": GitHub,
    "okta": Okta,
    "radius": Radius,
    "aws": Aws,
    "gcp": Gcp,
    "azure": Azure,
}
"""By the value of `method`."""

__all__ = [
    "METHODS",
    "AppRole",
    "Auth",
    "Aws",
    "Azure",
    "Cert",
    "Gcp",
    "GitHub",
    "Jwt",
    "Kubernetes",
    "Ldap",
    "Lent",
    "Oidc",
    "Okta",
    "Radius",
    "Token",
    "TokenFile",
    "UserPass",
]
