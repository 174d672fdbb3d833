"""As much of Google as tests of the `gcp` source need, over real HTTP, in threads of this process.

Its token endpoint, its exchange for federated identities (STS), IAM's credentials API, Secret Manager, the metadata
server, and the page where a person signs in. Assertions are verified with `cryptography`, PKCE is checked, every token
is known with whom it is of and what for, and all key material is made when a test runs.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.fakes.in_background import in_background

Reply = tuple[int, dict[str, Any]]

ACCOUNT = "minter@corp-project.iam.gserviceaccount.com"
TARGET = "target@other-project.iam.gserviceaccount.com"
CLIENT_ID = "fake-client.apps.googleusercontent.com"
CLIENT_SECRET = "fake-client-secret"
PERSON = "dev@corp.example"
AUDIENCE = "//iam.googleapis.com/projects/123456/locations/global/workloadIdentityPools/fake/providers/fake"
JWT = "urn:ietf:params:oauth:token-type:jwt"

_HANG_MAX_S = 60.0
_GOOGLE = "https://oauth2.googleapis.com/token"
_SKEW_S = 300


@cache
def private_key() -> rsa.RSAPrivateKey:
    """Make the service account's key, once a run; shorter than a real one, as every test reads it anew."""
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  # see above


@dataclass(frozen=True, slots=True)
class Token:
    """What an access token stands for."""

    who: str
    scopes: tuple[str, ...]
    ends: float = field(default=math.inf, compare=False)


@dataclass
class FakeGoogle:
    """`may_act_as`: pairs of who and as whom; `answer`: of (method, path), another answer than the usual one."""

    lifetime_s: int = 3600
    clock_ahead_s: float = 0.0
    tokens: dict[str, Token] = field(default_factory=dict)
    refresh_tokens: dict[str, tuple[str, ...]] = field(default_factory=dict)
    secrets: dict[str, list[bytes]] = field(default_factory=dict)
    may_act_as: set[tuple[str, str]] = field(default_factory=lambda: {(ACCOUNT, TARGET)})
    subject_token: str = "fake-subject-token"
    calls: Counter[str] = field(default_factory=Counter)
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    answer: Callable[[str, str], Reply | None] = lambda _method, _path: None
    answer_headers: dict[str, str] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    address: str = ""
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # --- what a user has of it ----------------------------------------------------------------------------------

    def service_account(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
        """Write the JSON that a new key comes as."""
        pem = private_key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        made = {
            "type": "service_account",
            "project_id": "corp-project",
            "private_key_id": "fake-key-id",
            "private_key": pem.decode(),
            "client_email": ACCOUNT,
            "token_uri": f"{self.address}/token",
        }
        return made | changes

    def authorized_user(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
        """Write the JSON that gcloud keeps of a sign-in."""
        self.refresh_tokens["fake-refresh-1"] = ("https://www.googleapis.com/auth/cloud-platform",)
        made = {
            "type": "authorized_user",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "refresh_token": "fake-refresh-1",
            "token_uri": f"{self.address}/token",
            "account": PERSON,
        }
        return made | changes

    def external_account(self, source: dict[str, Any], **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
        """Write the JSON of a workload's federation, whose token comes from `source`."""
        made = {
            "type": "external_account",
            "audience": AUDIENCE,
            "subject_token_type": JWT,
            "token_url": f"{self.address}/v1/token",
            "credential_source": source,
        }
        return made | changes

    def apis(self) -> dict[str, str]:
        """Name its services' addresses, as a source's `api_endpoints`."""
        return dict.fromkeys(("iamcredentials", "secretmanager", "oauth2", "accounts"), self.address)

    # --- what it answers ----------------------------------------------------------------------------------------

    def handle(self, method: str, target: str, headers: dict[str, str], body: dict[str, Any]) -> Reply:
        """Answer one call."""
        path = urlsplit(target).path
        self.calls[path] += 1
        self.bodies[path], self.headers[path] = body, headers
        self.gate.wait(_HANG_MAX_S)
        if (scripted := self.answer(method, path)) is not None:
            return scripted
        if path in {"/token", "/v1/token", "/v1/oauthtoken"}:
            return self._grant(path, body)
        if path.startswith("/v1/"):
            return self._service(path, headers, body)
        if path == "/revoke":
            known = self.refresh_tokens.pop(body.get("token", ""), None)
            return (200, {}) if known is not None else (400, {"error": "invalid_token"})
        if path.startswith("/computeMetadata/v1/") and headers.get("metadata-flavor") == "Google":
            return self._metadata(path.removeprefix("/computeMetadata/v1/"), parse_qs(urlsplit(target).query))
        return (200, {"value": self.subject_token}) if path == "/subject" else (404, {})

    def sign_in(self, url: str, scopes: tuple[str, ...] | None = None) -> str:
        """Be the person at the browser: agree at `url`, and return where the browser is sent."""
        query = dict(parse_qsl(urlsplit(url).query))
        assert query["client_id"] == CLIENT_ID
        assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
        assert query["access_type"] == "offline", "else there is no refresh token"
        code = f"fake-code-{next(self._numbers)}"
        self._codes[code] = query | ({} if scopes is None else {"scope": " ".join(scopes)})
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def mint(self, who: str, scopes: tuple[str, ...]) -> str:
        """Issue an access token."""
        token = f"ya29.fake-token-{next(self._numbers)}"
        self.tokens[token] = Token(who, scopes, time.time() + self.lifetime_s)
        return token

    def accepts(self, token: str) -> bool:
        """Whether an access token is good now."""
        return token in self.tokens and time.time() < self.tokens[token].ends

    def id_token(self, who: str, audience: str) -> str:
        """Issue an ID token; nobody here verifies its signature."""
        claims = {"aud": audience, "email": who, "exp": int(time.time()) + self.lifetime_s, "n": next(self._numbers)}
        parts = ({"alg": "RS256"}, claims)
        return ".".join(_b64(json.dumps(part).encode()) for part in parts) + ".fake"

    def _grant(self, path: str, body: dict[str, Any]) -> Reply:
        match body.get("grant_type"):
            case "urn:ietf:params:oauth:grant-type:jwt-bearer":
                return self._by_assertion(body["assertion"])
            case "refresh_token":
                return self._by_refresh_token(path, body)
            case "authorization_code":
                return self._by_code(body)
            case "urn:ietf:params:oauth:grant-type:token-exchange":
                return self._exchanged(body)
        return 400, {"error": "unsupported_grant_type"}

    def _by_assertion(self, assertion: str) -> Reply:
        signed, _, signature = assertion.rpartition(".")
        try:
            private_key().public_key().verify(_unb64(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        claims = json.loads(_unb64(signed.partition(".")[2]))
        now = time.time() + self.clock_ahead_s
        if not now - _SKEW_S < claims["iat"] < now + _SKEW_S or not now < claims["exp"] <= claims["iat"] + 3600:
            words = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."
            return 400, {"error": "invalid_grant", "error_description": words}
        if claims["iss"] != ACCOUNT or claims["aud"] != _GOOGLE:
            return 400, {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}
        if "target_audience" in claims:
            return 200, {"id_token": self.id_token(ACCOUNT, claims["target_audience"])}
        return 200, self._issued(ACCOUNT, tuple(claims["scope"].split()))

    def _by_refresh_token(self, path: str, body: dict[str, Any]) -> Reply:
        agreed = self.refresh_tokens.get(body["refresh_token"])
        if path == "/token" and (body["client_id"], body.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client", "error_description": "The OAuth client was not found."}
        if agreed is None:
            return 400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        scopes = tuple(body["scope"].split()) if "scope" in body else agreed
        if not set(scopes) <= set(agreed):
            return 400, {"error": "invalid_scope", "error_description": "Bad Request"}
        return 200, self._issued(PERSON, scopes)

    def _by_code(self, body: dict[str, Any]) -> Reply:
        asked = self._codes.pop(body["code"], None)
        challenge = _b64(hashlib.sha256(body.get("code_verifier", "").encode()).digest())
        if asked is None or asked["redirect_uri"] != body["redirect_uri"] or asked["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant", "error_description": "Malformed auth code."}
        refresh = f"fake-refresh-{next(self._numbers)}"
        scopes = tuple(asked["scope"].split())
        self.refresh_tokens[refresh] = scopes
        return 200, self._issued(PERSON, scopes) | {
            "refresh_token": refresh,
            "id_token": self.id_token(PERSON, CLIENT_ID),
        }

    def _exchanged(self, body: dict[str, Any]) -> Reply:
        if body["audience"] != AUDIENCE:
            return 400, {"error": "invalid_target", "error_description": "The target service is not known."}
        subject = body["subject_token"]
        if body["subject_token_type"].endswith("aws4_request"):
            signed = {header["key"]: header["value"] for header in json.loads(_unquoted(subject))["headers"]}
            subject = self.subject_token if signed["Authorization"].startswith("AWS4-HMAC-SHA256 ") else ""
        if subject != self.subject_token:
            return 400, {"error": "invalid_grant", "error_description": f"The token {subject} is not accepted."}
        return 200, self._issued(AUDIENCE, tuple(body["scope"].split()))

    def _issued(self, who: str, scopes: tuple[str, ...]) -> dict[str, Any]:
        token = self.mint(who, scopes)
        return {"access_token": token, "expires_in": self.lifetime_s, "token_type": "Bearer", "scope": " ".join(scopes)}

    def _service(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Reply:
        token = self.tokens.get(headers.get("authorization", "").removeprefix("Bearer "))
        if token is None:
            return problem(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if path.endswith((":generateAccessToken", ":generateIdToken")):
            return self._impersonated(path, token, body)
        name, _, version = path.removeprefix("/v1/").removesuffix(":access").partition("/versions/")
        versions = self.secrets.get(name, [])
        number = len(versions) if version == "latest" else int(version)
        if not 0 < number <= len(versions):
            return problem(404, "NOT_FOUND", f"Secret [{name}] not found or has no versions.")
        content = versions[number - 1]
        payload = {"data": base64.b64encode(content).decode(), "dataCrc32c": str(_crc32c(content))}
        return 200, {"name": f"{name}/versions/{number}", "payload": payload}

    def _impersonated(self, path: str, asking: Token, body: dict[str, Any]) -> Reply:
        target, _, what = path.rpartition("/")[2].partition(":")
        chain = [asking.who, *(name.rpartition("/")[2] for name in body.get("delegates") or ()), target]
        if not all(pair in self.may_act_as for pair in itertools.pairwise(chain)):
            words = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
            return problem(403, "PERMISSION_DENIED", words, "IAM_PERMISSION_DENIED")
        if what == "generateIdToken":
            return 200, {"token": self.id_token(target, body["audience"])}
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.lifetime_s))
        return 200, {"accessToken": self.mint(target, tuple(body["scope"])), "expireTime": ends}

    def _metadata(self, path: str, query: dict[str, list[str]]) -> Reply:
        account = "instance/service-accounts/default/"
        match path.rstrip("/"):
            case "project/project-id":
                return 200, {"": "corp-project"}
            case "project/numeric-project-id":
                return 200, {"": "123456"}
            case "instance/service-accounts/default":
                return 200, {"email": ACCOUNT, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
        if path == f"{account}token":
            return 200, self._issued(ACCOUNT, tuple(query.get("scopes", [""])[0].split(",")))
        if path == f"{account}identity":
            return 200, {"": self.id_token(ACCOUNT, query["audience"][0])}
        return 404, {}


def problem(status: int, name: str, message: str, reason: str = "", **metadata: str) -> Reply:
    """Word an error as Google's services do."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "metadata": metadata}
    error: dict[str, Any] = {"code": status, "status": name, "message": message}
    return status, {"error": error | ({"details": [info]} if reason else {})}


@contextmanager
def fake_google() -> Iterator[FakeGoogle]:
    """Run one on a free port of the loopback until the block ends."""
    google = FakeGoogle()
    handler = type("Handler", (_Handler,), {"google": google})
    with in_background(handler, google.gate) as google.address:
        yield google


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # one packet an answer: the second of two would wait for the first to be confirmed
    google: FakeGoogle

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        is_json = self.headers.get("Content-Type", "").startswith("application/json")
        body = json.loads(raw) if is_json and raw else dict(parse_qsl(raw))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer = self.google.handle(self.command, self.path, headers, body)
        text = answer.get("") if list(answer) == [""] else json.dumps(answer)
        content = str(text).encode()
        self.send_response_only(status)
        self.send_header(
            "Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + self.google.clock_ahead_s))
        )
        self.send_header("Content-Type", "application/text" if list(answer) == [""] else "application/json")
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Length", str(len(content)))
        for name, value in self.google.answer_headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _handle  # noqa: N815  # http.server's names

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _unquoted(text: str) -> str:
    return parse_qs(f"x={text}")["x"][0]


def _crc32c(content: bytes) -> int:
    """Take the checksum bit by bit, by division of polynomials: otherwise than the code under test."""
    remainder = 0xFFFFFFFF
    for byte in content:
        for bit in range(8):
            odd = (remainder ^ (byte >> bit)) & 1
            remainder = (remainder >> 1) ^ (0x82F63B78 * odd)
    return remainder ^ 0xFFFFFFFF
