"""AWS's IAM Identity Center for tests: sign-in (`sso-oidc`) and portal (`sso`), over real HTTP.

Every request is read, and every answer checked, by botocore's own model of the two services: what AWS's model does not
know, or lacks something that it wants, fails the test. What the model says nothing of (PKCE, who may use which code
when) follows RFC 8628 and RFC 7636, and the page `/authorize` what the AWS CLI asks of it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.validate import ParamValidator

from tests.fakes.json_server import Answer, Asked, JsonServer

START_URL = "https://corp.awsapps.example/start"
REGION = "eu-central-1"
ACCOUNT = "111111111111"
ROLE = "Developer"
USER_CODE = "FAKE-CODE"

_SCOPE = "sso:account:access"


class Refusal(Exception):
    """An error of the service's, by its name in the model."""


@dataclass
class Client:
    """A registered one."""

    secret: str
    wanted: dict[str, Any]


@dataclass
class FakeSso(JsonServer):
    """`confirmed`: what the person does with a device code: True, False for a refusal, None as long as nothing.

    `roles`: who may be what. `token_s`: the life of an access token. A refresh token is replaced by each use; the one
    before is good until the new one was used, unless `strict`. `said`: refusals to come, by the operation's name.
    """

    confirmed: bool | None = None
    roles: set[tuple[str, str]] = field(default_factory=lambda: {(ACCOUNT, ROLE)})
    token_s: int = 3600
    keys_s: float = 3600.0
    strict: bool = False
    said: dict[str, list[str]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    clients: dict[str, Client] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    refreshable: dict[str, str | None] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def answer(self, asked: Asked) -> Answer:
        """Find the operation, check what it was given, and what it gives."""
        operation = _operation(asked)
        if operation is None:
            self.wrong.append(f"{asked.method} {asked.path}: no such operation")
            return Answer(404)
        given = _given(operation, asked)
        self.wrong += _flaws(operation.input_shape, given, operation.name)
        self.calls[operation.name] += 1
        try:
            self._check_said(operation.name)
            outcome = self._operations[operation.name](given)
        except Refusal as refusal:
            return self._refused(operation, str(refusal))
        if operation.output_shape is not None:
            self.wrong += _flaws(operation.output_shape, outcome, f"the answer of {operation.name}")
        return Answer(200, outcome)

    @property
    def _operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]]:
        return {
            "RegisterClient": self.register_client,
            "StartDeviceAuthorization": self._start_device_authorization,
            "CreateToken": self.create_token,
            "GetRoleCredentials": self._role_credentials,
            "Logout": self._log_out,
        }

    def _check_said(self, operation: str) -> None:
        if self.said.get(operation):
            raise Refusal(self.said[operation].pop(0))

    def expire(self) -> None:
        """Have the access tokens end."""
        self.tokens = dict.fromkeys(self.tokens, 0.0)

    def end(self) -> None:
        """Have the administrator end every sign-in."""
        self.expire()
        self.refreshable.clear()

    def sign_in(self, home: Path, session: str = START_URL) -> None:
        """Leave behind what `aws sso login` does, for a sign-in that it has this name for."""
        client = self.register_client({"clientType": "public", "scopes": [_SCOPE]})
        born = self._born()
        token = {"startUrl": START_URL, "region": REGION, "accessToken": born["accessToken"]}
        token |= {"expiresAt": moment(time.time() + self.token_s), "refreshToken": born["refreshToken"]}
        token |= {"clientId": client["clientId"], "clientSecret": client["clientSecret"]}
        token["registrationExpiresAt"] = moment(client["clientSecretExpiresAt"])
        folder = home / ".aws/sso/cache"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file_of(session)).write_text(json.dumps(token))

    # --- the person, in a browser -------------------------------------------------------------------------------

    def allow(self, url: str, **changed: str) -> str:
        """Do what the person does at the page of `/authorize`; return where it sends the browser."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query)) | changed
        assert url.startswith(f"{self.url}/authorize?"), url
        assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
        assert query["scopes"] == _SCOPE
        back = urlsplit(query["redirect_uri"])
        registered = self.clients[query["client_id"]].wanted["redirectUris"]
        assert f"{back.scheme}://{back.hostname}{back.path}" in registered  # any port of the loopback (RFC 8252, 7.3)
        code = f"fake-browser-code-{next(self._numbers)}"
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    # --- sign-in ------------------------------------------------------------------------------------------------

    def register_client(self, given: dict[str, Any]) -> dict[str, Any]:
        """Know another client."""
        assert given["clientType"] == "public"
        assert given["scopes"] == [_SCOPE]
        name = f"fake-client-{next(self._numbers)}"
        self.clients[name] = Client(f"fake-secret-of-{name}", given)
        now = int(time.time())
        registered = {"clientId": name, "clientSecret": self.clients[name].secret}
        return registered | {"clientIdIssuedAt": now, "clientSecretExpiresAt": now + 90 * 86_400}

    def _start_device_authorization(self, given: dict[str, Any]) -> dict[str, Any]:
        self._client(given)
        if given["startUrl"] != START_URL:
            raise Refusal("InvalidRequestException")
        code = f"fake-device-code-{next(self._numbers)}"
        self.codes[code] = {"client_id": given["clientId"]}
        page = "https://device.sso.example/"
        shown = {"verificationUri": page, "verificationUriComplete": f"{page}?user_code={USER_CODE}"}
        return shown | {"deviceCode": code, "userCode": USER_CODE, "expiresIn": 600, "interval": 1}

    def create_token(self, given: dict[str, Any]) -> dict[str, Any]:
        """Give tokens for what the grant type wants."""
        self._client(given)
        match given["grantType"]:
            case "urn:ietf:params:oauth:grant-type:device_code":
                self._check_device(given)
            case "authorization_code":
                self._check_browser(given)
            case "refresh_token":
                self._check_refresh(given)
            case _:
                raise Refusal("UnsupportedGrantTypeException")
        return self._born()

    def _client(self, given: dict[str, Any]) -> None:
        known = self.clients.get(given["clientId"])
        if known is None or known.secret != given["clientSecret"]:
            raise Refusal("InvalidClientException")

    def _check_device(self, given: dict[str, Any]) -> None:
        if self.codes.get(given["deviceCode"], {}).get("client_id") != given["clientId"]:
            raise Refusal("InvalidGrantException")
        if self.confirmed is None:
            raise Refusal("AuthorizationPendingException")
        del self.codes[given["deviceCode"]]
        if not self.confirmed:
            raise Refusal("AccessDeniedException")

    def _check_browser(self, given: dict[str, Any]) -> None:
        asked = self.codes.pop(given["code"], None)
        digest = urlsafe_b64encode(hashlib.sha256(given["codeVerifier"].encode()).digest()).decode().rstrip("=")
        told = (given["clientId"], given["redirectUri"], digest)
        if asked is None or told != (asked["client_id"], asked["redirect_uri"], asked["code_challenge"]):
            raise Refusal("InvalidGrantException")

    def _check_refresh(self, given: dict[str, Any]) -> None:
        used = given["refreshToken"]
        if used not in self.refreshable:
            raise Refusal("InvalidGrantException")
        before = self.refreshable[used]
        if before is not None:
            self.refreshable.pop(before, None)
        if self.strict:
            del self.refreshable[used]
        self._used = used

    _used: str | None = None

    def _born(self) -> dict[str, Any]:
        number = next(self._numbers)
        access, refresh = f"fake-access-token-{number}", f"fake-refresh-token-{number}"
        self.tokens[access] = time.time() + self.token_s
        self.refreshable[refresh], self._used = self._used, None
        return {"accessToken": access, "refreshToken": refresh, "expiresIn": self.token_s, "tokenType": "Bearer"}

    # --- the portal ---------------------------------------------------------------------------------------------

    def _role_credentials(self, given: dict[str, Any]) -> dict[str, Any]:
        self._check_token(given)
        if (given["accountId"], given["roleName"]) not in self.roles:
            raise Refusal("ForbiddenException")  # the model does not know it: this is what AWS says
        number = next(self._numbers)
        keys = {"accessKeyId": f"ASIAFAKE{number:012}", "secretAccessKey": f"fake-secret-key-{number}"}
        keys |= {"sessionToken": f"fake-session-token-{number}"}
        return {"roleCredentials": keys | {"expiration": int((time.time() + self.keys_s) * 1000)}}

    def _log_out(self, given: dict[str, Any]) -> None:
        self._check_token(given)
        self.end()

    def _check_token(self, given: dict[str, Any]) -> None:
        if self.tokens.get(given["accessToken"], 0.0) <= time.time():
            raise Refusal("UnauthorizedException")

    def _refused(self, operation: OperationModel, code: str) -> Answer:
        shapes = {shape.name: shape for shape in operation.error_shapes}
        status = shapes[code].metadata["error"]["httpStatusCode"] if code in shapes else 403
        # As AWS does, it repeats what it was given: no message of ours may.
        said = f"refused: {', '.join([*self.tokens, *self.refreshable, *self.codes])}"
        body = (
            {"error": code, "error_description": said}
            if "/token" in operation.http["requestUri"]
            else {"message": said}
        )
        return Answer(status, body, {"x-amzn-ErrorType": code})


@contextmanager
def fake_sso() -> Iterator[FakeSso]:
    """Serve until the block ends; what was wrong with requests or answers fails it."""
    made = FakeSso()
    with made.serving():
        yield made
    assert not made.wrong


# --- botocore's model ---------------------------------------------------------------------------------------------


@cache
def _models() -> tuple[ServiceModel, ...]:
    loader = Loader()
    return tuple(ServiceModel(loader.load_service_model(name, "service-2"), name) for name in ("sso-oidc", "sso"))


def _operation(asked: Asked) -> OperationModel | None:
    for model in _models():
        for name in model.operation_names:
            found = model.operation_model(name)
            if (found.http["method"], found.http["requestUri"]) == (asked.method, asked.path.partition("?")[0]):
                return found
    return None


def _given(operation: OperationModel, asked: Asked) -> dict[str, Any]:
    """Read a request as the model says where each of its members stands."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(asked.path).query).items()}
    places = {"header": asked.headers, "querystring": query}
    given: dict[str, Any] = dict(asked.body or {})
    for name, shape in operation.input_shape.members.items():
        place = shape.serialization.get("location")
        if place is not None:
            key = shape.serialization["name"]
            found = places[place].get(key.lower() if place == "header" else key)
            given |= {name: found} if found is not None else {}
    return given


def _flaws(shape: Any, given: Any, where: str) -> list[str]:  # noqa: ANN401  # botocore has no types
    unknown = [name for name in given if name not in shape.members]
    report = ParamValidator().validate(given, shape)
    found = [f"{where}: {report.generate_report()}"] if report.has_errors() else []
    return [*found, *(f"{where}: {name} is unknown" for name in unknown)]


def file_of(session: str) -> str:
    """Name the AWS CLI's file of a sign-in, by its name for that, or by the start URL."""
    return f"{hashlib.sha1(session.encode(), usedforsecurity=False).hexdigest()}.json"


def moment(at: float) -> str:
    """Write it as the AWS CLI does."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def written(home: Path) -> dict[str, dict[str, str]]:
    """Read the AWS CLI's cache of sign-ins, by the files' names."""
    return {file.name: json.loads(file.read_text()) for file in (home / ".aws/sso/cache").glob("*.json")}
