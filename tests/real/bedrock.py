"""A local stand-in for Amazon Bedrock, faithful enough for the real Claude Code: who signs wrongly is told so.

Signatures are worked out by botocore itself. What it speaks was read off Claude Code 2.1.197 and 2.1.330:
`POST /model/ID/invoke-with-response-stream`, answered by an event stream, and `GET /inference-profiles`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from aws_bedrock_token_generator import provide_token
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import CredentialProvider, Credentials, ReadOnlyCredentials

from tests.fakes.in_background import in_background
from tests.real.upstream import stream

REGION: Final = "us-east-1"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_BEARER: Final = "Bearer bedrock-api-key-"
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_SKEW_S: Final = 300.0


class Refused(Exception):
    """What AWS would say: the type of the error."""


@dataclass(frozen=True, slots=True)
class Keys:
    """One session of AWS's, until `expires_at` (epoch seconds)."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: float

    @classmethod
    def mint(cls, number: int, lifetime_s: float) -> Keys:
        """Make obviously fake ones."""
        return cls(f"ASIAFAKE{number:08}", f"fake-secret-{number}", f"fake-session-{number}", time.time() + lifetime_s)

    def process_format(self) -> dict[str, Any]:
        """Write them as `credential_process` does."""
        return {
            "Version": 1,
            "AccessKeyId": self.access_key_id,
            "SecretAccessKey": self.secret_access_key,
            "SessionToken": self.session_token,
            "Expiration": datetime.fromtimestamp(self.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def bedrock_api_key(self) -> dict[str, Any]:
        """Make a short-term API key of them by AWS's own package, which rounds no life down to less than theirs."""
        keys = ReadOnlyCredentials(self.access_key_id, self.secret_access_key, self.session_token)
        return {"token": provide_token(REGION, _Provider(keys)), "expires_at": self.expires_at}


class _Provider(CredentialProvider):  # type: ignore[misc]  # botocore has no types
    """The keys in the form that AWS's package asks for."""

    def __init__(self, keys: ReadOnlyCredentials) -> None:
        super().__init__()
        self._keys = keys

    def load(self) -> ReadOnlyCredentials:
        """Give them."""
        return self._keys


@dataclass(frozen=True, slots=True)
class Seen:
    """One prompt: how it was signed ("sigv4", "bearer", "none"), by whose key, and what it was answered with."""

    at: float
    path: str
    by: str
    access_key_id: str
    status: int
    problem: str = ""


@dataclass(slots=True)
class Bedrock:
    """The running server: whose signatures it takes, and what it has seen. `GET /mint` gives new keys."""

    url: str = ""
    lifetime_s: float = 3600.0
    sessions: dict[str, Keys] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    seen: list[Seen] = field(default_factory=list)
    profiles: int = 0

    def mint(self) -> Keys:
        """Start another session."""
        keys = Keys.mint(len(self.sessions) + 1, self.lifetime_s)
        self.sessions[keys.access_key_id] = keys
        return keys

    def revoke(self) -> None:
        """End every session long before its keys expire, as an administrator does."""
        self.revoked |= self.sessions.keys()

    def is_over(self) -> bool:
        """Whether every session that answered a prompt has expired."""
        used = {request.access_key_id for request in self.seen}
        return all(time.time() > keys.expires_at for name, keys in self.sessions.items() if name in used)

    @property
    def refused(self) -> list[Seen]:
        """The prompts that were not signed by a living session."""
        return [request for request in self.seen if request.status != HTTPStatus.OK]

    def whose(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[str, Keys | None]:
        """Tell how a request is signed and by which session; raise `Refused`."""
        said = headers.get("authorization", "")
        if said.startswith(_ALGORITHM):
            return "sigv4", self._signed(said, method, target, headers, body)
        if said.startswith(_BEARER):
            with suppress(ValueError, KeyError):
                return "bearer", self._presigned(said.removeprefix(_BEARER))
        raise Refused("MissingAuthenticationTokenException")

    def _signed(self, said: str, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Keys:
        parts = dict(part.strip().split("=", 1) for part in said.removeprefix(_ALGORITHM).split(","))
        names = parts["SignedHeaders"].split(";")
        request = AWSRequest(method, f"{self.url}{target}", {name: headers[name] for name in names}, body)
        keys = self._session(parts["Credential"], headers.get("x-amz-security-token", ""))
        _verify(request, keys, parts["Credential"], headers["x-amz-date"], parts["Signature"])
        return keys

    def _presigned(self, token: str) -> Keys:
        """Take the Bedrock API key apart: a presigned URL without its scheme (AWS's aws-bedrock-token-generator)."""
        url = urlsplit("https://" + base64.b64decode(token).decode())
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if query.pop("Version", "") != "1" or query.get("Action") != "CallWithBearerToken":
            raise Refused("AccessDeniedException")
        signature, stamp = query.pop("X-Amz-Signature"), query["X-Amz-Date"]
        if time.time() > _moment(stamp) + float(query["X-Amz-Expires"]):
            raise Refused("ExpiredTokenException")
        keys = self._session(query["X-Amz-Credential"], query["X-Amz-Security-Token"])
        signed = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items()))
        request = AWSRequest("POST", f"https://{url.netloc}/?{signed}", {"host": url.netloc}, b"")
        _verify(request, keys, query["X-Amz-Credential"], stamp, signature, skew_s=float(query["X-Amz-Expires"]))
        return keys

    def _session(self, credential: str, token: str) -> Keys:
        name = credential.partition("/")[0]
        keys = self.sessions.get(name)
        if keys is None or name in self.revoked or not hmac.compare_digest(keys.session_token, token):
            raise Refused("UnrecognizedClientException")
        if time.time() > keys.expires_at:
            raise Refused("ExpiredTokenException")
        return keys


def _verify(
    request: AWSRequest, keys: Keys, credential: str, stamp: str, signature: str, *, skew_s: float = _SKEW_S
) -> None:
    """Have botocore sign the same, and compare."""
    _, _, region, service, _ = credential.split("/")
    signer = SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key), service, region)
    request.context["timestamp"] = stamp
    canonical = signer.canonical_request(request)
    if (service, region) != ("bedrock", REGION) or abs(time.time() - _moment(stamp)) > skew_s:
        raise Refused("InvalidSignatureException")
    if not hmac.compare_digest(signer.signature(signer.string_to_sign(request, canonical), request), signature):
        raise Refused("InvalidSignatureException")


def _moment(stamp: str) -> float:
    return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp()


@contextmanager
def serving() -> Iterator[Bedrock]:
    """Serve on a free port of the loopback until the block ends."""
    bedrock = Bedrock()
    with in_background(type("Handler", (_Handler,), {"bedrock": bedrock})) as bedrock.url:
        yield bedrock


class _Handler(BaseHTTPRequestHandler):
    bedrock: Bedrock
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """List what can be called, or give out new keys."""
        if self.path == "/mint":
            self._json(HTTPStatus.OK, self.bedrock.mint().process_format())
            return
        if self.path == "/mint-key":
            self._json(HTTPStatus.OK, self.bedrock.mint().bedrock_api_key())
            return
        self.bedrock.profiles += 1
        self._signed(b"", lambda: self._json(HTTPStatus.OK, {"inferenceProfileSummaries": []}))

    def do_POST(self) -> None:
        """Answer a prompt, if its signature is good."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        said = json.loads(body or b"{}")
        if "stream" in self.path:
            events = b"".join(map(_chunk, stream(said)))
            self._signed(body, lambda: self._answer(HTTPStatus.OK, events, "application/vnd.amazon.eventstream"))
        else:  # it looks which models answer, and counts tokens
            self._signed(body, lambda: self._json(HTTPStatus.OK, {"inputTokens": 1, "content": []}))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        """Keep the test's output quiet."""

    def _signed(self, body: bytes, answer: Callable[[], None]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        by, key, problem = "none", "", ""
        try:
            by, keys = self.bedrock.whose(self.command, self.path, headers, body)
            key = keys.access_key_id if keys else ""
        except Refused as refused:
            problem = str(refused)
        status = HTTPStatus.FORBIDDEN if problem else HTTPStatus.OK
        if "stream" in self.path:
            self.bedrock.seen.append(Seen(time.time(), self.path, by, key, status, problem))
        if problem:
            self._json(
                status, {"message": f"The security token included in the request is expired ({problem})"}, problem
            )
        else:
            answer()

    def _json(self, status: HTTPStatus, body: dict[str, Any], problem: str = "") -> None:
        self._answer(status, json.dumps(body).encode(), "application/json", problem)

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str, problem: str = "") -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        if problem:
            self.send_header("x-amzn-errortype", problem)
        self.end_headers()
        self.wfile.write(body)


def _chunk(event: Mapping[str, Any]) -> bytes:
    """Wrap one event of the messages API as Bedrock does."""
    payload = {"bytes": base64.b64encode(json.dumps(event).encode()).decode()}
    headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return _message(headers, json.dumps(payload).encode())


def _message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Encode one message of AWS's event stream: lengths, their checksum, headers (7: a string), payload, checksum."""
    head = b"".join(
        struct.pack(f">B{len(name)}sBH{len(value)}s", len(name), name.encode(), 7, len(value), value.encode())
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + head + payload
    return message + struct.pack(">I", binascii.crc32(message))
