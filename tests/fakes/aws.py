"""As much of AWS as tests of the source need (STS, Secrets Manager, Parameter Store), over real HTTP, in threads.

It knows callers by their key id, as AWS does, and verifies no signature: tests with real servers and clients do.
"""

from __future__ import annotations

import itertools
import json
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from tests.fakes.in_background import in_background

KEY_ID = "AKIAFAKEFAKEFAKEFAKE"
USER = "arn:aws:iam::111111111111:user/me"

Reply = tuple[int, str]

_HANG_MAX_S = 60.0
_CREDENTIAL = re.compile(r"Credential=([^/]+)/")
_XML = '<{0}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{0}Result>{1}</{0}Result></{0}Response>'


@dataclass
class FakeAws:
    """`callers`: whose each key id is; `failures`: what an operation answers instead (status, code, message).

    `nonsense`: the same, a text of status 200. `asked`: the parameters of each call, by operation; `ahead_s`: how far AWS's clock is before ours.
    """

    callers: dict[str, str] = field(default_factory=lambda: {KEY_ID: USER})
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    failures: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    nonsense: dict[str, str] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    session_s: float | None = None
    ahead_s: float = 0.0
    gate: threading.Event = field(default_factory=threading.Event)
    address: str = ""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def last(self, operation: str) -> dict[str, Any]:
        """Return the parameters of its last call."""
        return self.asked[operation][-1]

    def forget(self) -> None:
        """Know no session any more, as after an administrator revoked them."""
        self.callers = {key: arn for key, arn in self.callers.items() if key.startswith("AKIA")}

    def handle(self, operation: str, parameters: dict[str, Any], key_id: str) -> Reply:
        """Answer one call."""
        self.calls[operation] += 1
        self.asked.setdefault(operation, []).append({**parameters, "key_id": key_id})
        self.gate.wait(_HANG_MAX_S)
        if operation in self.nonsense:
            return 200, self.nonsense[operation]
        if operation in self.failures:
            return self.failure(operation, *self.failures[operation])
        if key_id not in self.callers and operation != "AssumeRoleWithWebIdentity":
            return self.failure(operation, 403, "InvalidClientTokenId", "The security token included is invalid.")
        return 200, self._answer(operation, parameters, key_id)

    def failure(self, operation: str, status: int, code: str, message: str) -> Reply:
        """Word an error in the service's own protocol."""
        if operation in {"GetSecretValue", "GetParameter"}:
            return status, json.dumps({"__type": code, "message": message})
        return (
            status,
            f"<ErrorResponse><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></ErrorResponse>",
        )

    def _answer(self, operation: str, parameters: dict[str, Any], key_id: str) -> str:
        match operation:
            case "GetCallerIdentity":
                return _xml(operation, f"<Arn>{self.callers[key_id]}</Arn>")
            case "GetSessionToken":
                return _xml(operation, self._keys(self.callers[key_id], parameters))
            case "AssumeRole" | "AssumeRoleWithWebIdentity":
                arn = assumed(parameters["RoleArn"], parameters["RoleSessionName"])
                who = f"<AssumedRoleUser><Arn>{arn}</Arn><AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser>"
                return _xml(operation, self._keys(arn, parameters) + who)
            case "GetSecretValue":
                return self._found(self.secrets.get(parameters["SecretId"]))
        name, _, version = str(parameters["Name"]).partition(":")
        value = self.parameters.get(name)
        found = None if value is None else {"Parameter": {"Name": name, "Value": value, "Version": int(version or 1)}}
        return self._found(found)

    def _found(self, found: dict[str, Any] | None) -> str:
        if found is None:
            raise KeyError
        return json.dumps(found)

    def _keys(self, arn: str, parameters: dict[str, Any]) -> str:
        number = next(self._numbers)
        key_id = f"ASIAFAKE{number:012}"
        self.callers[key_id] = arn
        lives_s = float(parameters.get("DurationSeconds", 3600)) if self.session_s is None else self.session_s
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.ahead_s + lives_s))
        return (
            f"<Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>fake-secret-key-{number}</SecretAccessKey>"
            f"<SessionToken>fake-session-token-{number}</SessionToken><Expiration>{end}</Expiration></Credentials>"
        )


def assumed(role_arn: str, name: str) -> str:
    """Name the session of a role as STS does."""
    _, _, _, _, account, role = role_arn.split(":")
    return f"arn:aws:sts::{account}:assumed-role/{role.rpartition('/')[2]}/{name}"


def _xml(operation: str, content: str) -> str:
    return _XML.format(operation, content)


@contextmanager
def fake_aws(tls: ssl.SSLContext | None = None) -> Iterator[FakeAws]:
    """Run one on the loopback; it answers from the start."""
    aws = FakeAws()
    handler = type("Handler", (_Handler,), {"aws": aws})
    with in_background(handler, aws.gate, tls) as aws.address:
        yield aws


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536
    aws: FakeAws

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        target = self.headers.get("X-Amz-Target")
        parameters = dict(parse_qsl(body)) if target is None else json.loads(body)
        operation = str(parameters.pop("Action", "")) if target is None else target.rpartition(".")[2]
        found = _CREDENTIAL.search(self.headers.get("Authorization", ""))
        try:
            status, text = self.aws.handle(operation, parameters, found[1] if found else "")
        except KeyError:
            absent = "ParameterNotFound" if operation == "GetParameter" else "ResourceNotFoundException"
            status, text = self.aws.failure(operation, 400, absent, "not there")
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        with suppress(ConnectionError):  # who has had enough hangs up
            self.wfile.write(text.encode())

    def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002  # the library's signature
        """Write `Date` by AWS's clock."""
        return formatdate(time.time() + self.aws.ahead_s, usegmt=True)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""
