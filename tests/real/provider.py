"""A real OpenID provider, npm's `oidc-provider`, with refresh tokens that are good once (see oauth_provider.mjs)."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Final

from tests import setup_npm
from tests.real.ports import free_port
from tests.real.process import DEADLINE_S, terminate, wait_until

SCRIPT: Final = Path(__file__).with_name("oauth_provider.mjs")
SECRET: Final = "fake-client-secret with/odd+chars%"
API: Final = "https://gateway.example/"
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"


def machine(client_id: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    """Register a client that acts for itself."""
    return {
        "client_id": client_id,
        "client_secret": SECRET,
        "grant_types": ["client_credentials", EXCHANGE, BEARER],
        "redirect_uris": [],
        "response_types": [],
    } | more


def person(client_id: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    """Register a client that people sign in by, as a program on their machine: it has no secret."""
    return {
        "client_id": client_id,
        "application_type": "native",
        "grant_types": ["authorization_code", DEVICE, "refresh_token"],
        "redirect_uris": ["http://127.0.0.1/"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "scope": "openid offline_access models.read models.write",
    } | more


CLIENTS: Final = (
    machine("machine"),
    machine("posting", token_endpoint_auth_method="client_secret_post"),
    person("person"),
)


def available() -> bool:
    """Whether it can be run."""
    return shutil.which("node") is not None and (setup_npm.FOLDER / "node_modules" / "oidc-provider").exists()


@dataclass(slots=True)
class Provider:
    """The running provider."""

    issuer: str
    process: subprocess.Popen[str]

    def told(self, **parameters: float) -> dict[str, Any]:
        """Return what it counted; set how long its tokens live, or how late its answers are."""
        query = urllib.parse.urlencode(parameters)
        answer: dict[str, Any] = self._json(f"{self.issuer}/test?{query}")
        return answer

    def accepts(self, token: str) -> bool:
        """Whether this is a live token of its making."""
        return bool(self._json(f"{self.issuer}/test/alive?{urllib.parse.urlencode({'token': token})}")["alive"])

    def agree(self, url: str) -> str:
        """Do what a person does in the browser; return where it sends them back to."""
        browser = _Browser()
        return browser.sign_in(url)

    def confirm(self, url: str) -> None:
        """Confirm a device code, at the address that has it filled in."""
        _Browser().confirm(url)

    def _json(self, url: str) -> Any:  # noqa: ANN401  # JSON
        with urllib.request.urlopen(url, timeout=DEADLINE_S, context=_TRUSTING) as answer:  # noqa: S310  # the loopback
            return json.load(answer)


_TRUSTING: Final = ssl._create_unverified_context()  # noqa: S323  # the tests' own look at their own server


@contextmanager
def provider(clients: Sequence[Mapping[str, Any]] = CLIENTS, **settings: Any) -> Iterator[Provider]:  # noqa: ANN401  # JSON
    """Run one on a free port of the loopback until the block ends."""
    scheme = "https" if "tls" in settings else "http"
    issuer = f"{scheme}://127.0.0.1:{free_port()}"
    node = shutil.which("node")
    assert node is not None
    process = subprocess.Popen(
        [node, str(SCRIPT)],
        cwd=setup_npm.FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"issuer": issuer, "clients": list(clients), **settings}))
    process.stdin.close()
    made = Provider(issuer, process)
    try:
        wait_until(lambda: _answers(made), "the provider answers")
        yield made
    finally:
        terminate(process)


def _answers(made: Provider) -> bool:
    assert made.process.poll() is None, "the provider does not start"
    with suppress(OSError):
        return bool(made.told())
    return False


class _Browser:
    """As much of one as a person needs: cookies, redirects, and a form."""

    def __init__(self) -> None:
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(cookies, _Stop, urllib.request.HTTPSHandler(context=_TRUSTING))

    def sign_in(self, url: str) -> str:
        """Follow the provider until it sends the browser to a page that is not its own."""
        origin = urllib.parse.urlsplit(url).netloc
        for _ in range(10):
            url = urllib.parse.urljoin(url, self._redirect(url))
            if urllib.parse.urlsplit(url).netloc != origin:
                return url
        raise AssertionError("the provider goes round in circles")

    def confirm(self, url: str) -> None:
        """Send the code's form, agree, and follow until the end."""
        page = self._open(url)
        form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page))
        action = re.search(r'action="([^"]+)"', page)
        assert action is not None, page
        where = urllib.parse.urljoin(url, action[1])
        # The page sends the code by itself, and then asks whether it is the one on the screen.
        page = self._open(where, form)
        form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page)) | {"confirm": "yes"}
        where = self._redirect(where, form)
        for _ in range(10):
            where = urllib.parse.urljoin(url, where)
            try:
                where = self._redirect(where)
            except _NoRedirect:
                return
        raise AssertionError("the provider goes round in circles")

    def _open(self, url: str, form: Mapping[str, str] | None = None) -> str:
        body = None if form is None else urllib.parse.urlencode(form).encode()
        with self._opener.open(url, body, timeout=DEADLINE_S) as answer:
            read: str = answer.read().decode()
            return read

    def _redirect(self, url: str, form: Mapping[str, str] | None = None) -> str:
        try:
            said = self._open(url, form)
        except urllib.error.HTTPError as error:
            if error.code in {302, 303}:
                return str(error.headers["Location"])
            raise AssertionError(f"{error.code}: {error.read().decode()[-500:]}") from None
        raise _NoRedirect(said)


class _NoRedirect(AssertionError):
    """A page instead."""


class _Stop(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:  # noqa: ANN401  # the library's signature
        """Follow nothing by itself."""
