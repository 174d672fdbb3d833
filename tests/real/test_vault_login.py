"""`broker login` on a real OpenBao, which is both the Vault and the company's identity provider."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.contracts.source_contract import VALUE
from tests.fakes.handed_key import hand_key
from tests.real.company import READ, Company, company
from tests.real.conftest import Need
from tests.real.installed import BIN, BROKER, Place, running
from tests.real.openbao import BAO
from tests.real.process import DEADLINE_S, terminate, wait_until

pytestmark = pytest.mark.real

PASSWORD: Final = "fake-password"
PROVIDER: Final = "identity/oidc/provider/default/authorize"
CALLBACK: Final = "http://localhost:8250/oidc/callback"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A server whose people sign in by user name and password, as its identity provider, and by that as its users."""
    with company(tmp_path_factory.mktemp("bao")) as made:
        made.put("claude", key=VALUE)
        made.allow({"secret/data/claude": READ})
        made.enable("userpass")
        made.post("auth/userpass/users/me", password=PASSWORD)
        made.post("identity/oidc/key/broker", allowed_client_ids=["*"])
        made.post("identity/oidc/client/broker", key="broker", assignments=["allow_all"], redirect_uris=[CALLBACK])
        client = made.call("GET", "identity/oidc/client/broker")["data"]
        made.enable("oidc")
        made.post(
            "auth/oidc/config",
            oidc_discovery_url=f"{made.address}/v1/identity/oidc/provider/default",
            oidc_client_id=client["client_id"],
            oidc_client_secret=client["client_secret"],
        )
        role = {"user_claim": "sub", "token_policies": ["claude"], "allowed_redirect_uris": [CALLBACK]}
        made.post("auth/oidc/role/dev", **role)
        made.post("auth/oidc/role/elsewhere", **role | {"allowed_redirect_uris": ["https://elsewhere.example/"]})
        made.post("auth/oidc/role/short", **role, token_ttl="3s", token_max_ttl="1h")
        yield made


@pytest.fixture
def bao(need: Need, request: pytest.FixtureRequest) -> Company:
    """The server, with nobody signed in."""
    need(BAO.exists(), f"{BAO} is missing")
    made: Company = request.getfixturevalue("shared")
    revoke(made)
    return made


def revoke(bao: Company) -> None:
    """End every sign-in."""
    bao.post("sys/leases/revoke-prefix/auth/oidc/oidc/callback")


def configure(place: Place, bao: Company, role: str = "dev", **daemon: str) -> None:
    """Write the config."""
    lines = "".join(f'{name} = "{value}"\n' for name, value in daemon.items())
    place.configure(f"""
[daemon]
{lines}
[sources.corp]
type = "vault"
address = "{bao.address}"
auth = {{ method = "oidc", role = "{role}" }}

[credentials.work]
source = "corp"
path = "secret/claude"

[sources.plain]
type = "env"

[credentials.other]
source = "plain"
name = "OTHER"
""")


@pytest.fixture
def keyed(place: Place, bao: Company) -> dict[str, str]:
    """The config, and a key for what is stored, as the service manager hands it over."""
    configure(place, bao)
    return hand_key(place.folder)


# --- the person -------------------------------------------------------------------------------------------------


@contextmanager
def typed(place: Place, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command until the block ends; what it says is in `said`."""
    env = place.env | {"HOME": str(place.folder), "PATH": f"{BIN}:/usr/bin:/bin"}
    with _said_file(place).open("w") as stderr:
        process = subprocess.Popen(
            [str(BROKER), *arguments], env=env, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, text=True
        )
    try:
        yield process
    finally:
        terminate(process)


def _said_file(place: Place) -> Path:
    return place.folder / "said"


def said(place: Place) -> str:
    """Return what the last command said."""
    return _said_file(place).read_text()


def run(place: Place, *arguments: str) -> tuple[int, str]:
    """Run a command to its end."""
    with typed(place, *arguments) as process:
        return process.wait(DEADLINE_S), said(place)


def shown(place: Place) -> str:
    """Wait for the address that is shown, and return it."""
    wait_until(lambda: "Waiting for" in said(place), "the address is shown")
    found = re.search(r"https?://\S+", said(place))
    assert found is not None
    return found[0]


def sign_in(bao: Company, url: str) -> str:
    """Do what the person does at the provider; return where it sends the browser."""
    query = urlsplit(url).query
    person = bao.call("POST", "auth/userpass/login/me", {"password": PASSWORD})["auth"]["client_token"]
    answer = bao.call("GET", f"{PROVIDER}?{query}", token=person)
    redirect = parse_qs(query)["redirect_uri"][0]
    return f"{redirect}?{urlencode({'code': answer['code'], 'state': answer['state']})}"


def visit(url: str, **headers: str) -> tuple[int, str]:
    """Open a page, as a browser does."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=DEADLINE_S)
    connection.request("GET", f"{parts.path}?{parts.query}", headers={"Host": parts.netloc, **headers})
    answer = connection.getresponse()
    try:
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def login(place: Place, bao: Company) -> str:
    """Sign in; return what the command said."""
    with typed(place, "login", "corp", "--no-browser") as process:
        back = sign_in(bao, shown(place))
        status, page = visit(back)
        assert status == 200
        code = parse_qs(urlsplit(back).query)["code"][0]
        assert process.wait(DEADLINE_S) == 0, said(place)
    assert code not in page + said(place)
    return said(place)


def state_becomes(place: Place, state: str) -> None:
    """Wait for it."""
    wait_until(lambda: place.credential("work")["state"] == state, f"work is {state}")


def refresh(place: Place) -> None:
    """Have it fetched anew."""
    place.call("POST", "/v1/refresh", {"credential": "work"})


# --- signing in -------------------------------------------------------------------------------------------------


def test_nobody_signed_in_names_the_command_and_signing_in_mends_it(
    place: Place, bao: Company, keyed: dict[str, str]
) -> None:
    """The helper exits with 77 and says what to run; after that it has the key at once."""
    with running(place, env=keyed):
        asked = place.ask("work")
        assert (asked.returncode, asked.stdout) == (77, "")
        assert "broker login corp" in asked.stderr
        assert place.credential("work")["state"] == "needs-login"
        assert login(place, bao).endswith("\nsigned in to corp\n")
        state_becomes(place, "fresh")
        assert place.ask("work").stdout == f"{VALUE}\n"


def test_a_sign_in_outlasts_the_daemon_and_a_lock(place: Place, bao: Company, keyed: dict[str, str]) -> None:
    """It is stored, encrypted; nobody has to sign in each morning."""
    with running(place, env=keyed):
        login(place, bao)
    with running(place, env=keyed):
        refresh(place)
        assert place.ask("work").stdout == f"{VALUE}\n"
        assert run(place, "lock")[0] == 0
        assert run(place, "unlock")[0] == 0
        refresh(place)
        assert place.credential("work")["state"] == "fresh"


def test_without_a_key_at_rest_it_lasts_as_long_as_the_daemon(place: Place, bao: Company) -> None:
    """That is said; and the server is told when the daemon ends."""
    configure(place, bao, persist="off")
    before = bao.logins()
    with running(place):
        assert "until the daemon stops" in login(place, bao)
        assert place.ask("work").stdout == f"{VALUE}\n"
        held = bao.logins()
    assert bao.logins() == held - 1
    assert held > before
    with running(place):
        assert place.ask("work").returncode == 77


def test_a_revoked_sign_in_needs_a_person(place: Place, bao: Company, keyed: dict[str, str]) -> None:
    """The key in hand is served on; when it is gone, the command is named; signing in again mends it."""
    with running(place, env=keyed):
        login(place, bao)
        assert place.ask("work").stdout == f"{VALUE}\n"
        revoke(bao)
        refresh(place)
        assert place.credential("work")["state"] == "stale"
        assert "broker login corp" in place.credential("work")["last_error"]
        assert place.ask("work").stdout == f"{VALUE}\n"
        login(place, bao)
        state_becomes(place, "fresh")


def test_the_token_is_renewed(place: Place, bao: Company, keyed: dict[str, str]) -> None:
    """One sign-in lasts longer than the token that it gave."""
    configure(place, bao, role="short")
    with running(place, env=keyed):
        login(place, bao)
        accessor = newest(bao)
        first = expiry(bao, accessor)
        wait_until(lambda: expiry(bao, accessor) > first, "the token is renewed")
        refresh(place)
        assert place.credential("work")["state"] == "fresh"


def newest(bao: Company) -> str:
    """Find the token of the sign-in."""
    for accessor in bao.call("LIST", "auth/token/accessors")["data"]["keys"]:
        data = bao.post("auth/token/lookup-accessor", accessor=accessor)["data"]
        if data["path"].startswith("auth/oidc"):
            return str(accessor)
    raise AssertionError("nobody is signed in")


def expiry(bao: Company, accessor: str) -> str:
    """Tell when it ends."""
    return str(bao.post("auth/token/lookup-accessor", accessor=accessor)["data"]["expire_time"])


def test_signing_out_has_the_server_forget_the_token(place: Place, bao: Company, keyed: dict[str, str]) -> None:
    """And the daemon what it got by it; once more says that nobody was signed in."""
    with running(place, env=keyed):
        login(place, bao)
        assert place.ask("work").stdout == f"{VALUE}\n"
        held = bao.logins()
        assert run(place, "logout", "corp") == (0, "signed out of corp\n")
        assert bao.logins() == held - 1
        asked = place.ask("work")
        assert (asked.returncode, asked.stdout) == (77, "")
        assert run(place, "logout", "corp") == (0, "nobody was signed in to corp\n")
    with running(place, env=keyed):
        assert place.ask("work").returncode == 77


# --- what goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["login", "plain"], 64, "nobody signs in to source plain by hand"),
        (["logout", "plain"], 64, "nobody signs in to source plain by hand"),
        (["login", "corq"], 78, "did you mean corp?"),
    ],
)
def test_a_source_without_sign_in_is_told_in_one_line(
    place: Place, keyed: dict[str, str], arguments: Sequence[str], code: int, says: str
) -> None:
    """As is one that is not in the config."""
    with running(place, env=keyed):
        status, line = run(place, *arguments)
        assert (status, line.count("\n")) == (code, 1)
        assert line.startswith("broker: ")
        assert says in line


def test_a_role_that_does_not_allow_our_page_is_named(place: Place, bao: Company, keyed: dict[str, str]) -> None:
    """The server itself says nothing but an empty address."""
    configure(place, bao, role="elsewhere")
    with running(place, env=keyed):
        status, line = run(place, "login", "corp")
        assert (status, line.count("\n")) == (69, 1)
        assert "allowed_redirect_uris" in line
        configure(place, bao, role="nobody")
        os.kill(daemon_pid(place), signal.SIGHUP)
        wait_until(lambda: "could not be found" in run(place, "login", "corp")[1], "the other role is refused")


def daemon_pid(place: Place) -> int:
    """Ask the daemon for it."""
    return int(json.loads(place.call("GET", "/v1/status")[1])["daemon"]["pid"])


def test_only_the_providers_answer_counts(place: Place, bao: Company, keyed: dict[str, str]) -> None:
    """Neither another page that the person has open, nor another name for this one, nor a code of somebody else's."""
    with running(place, env=keyed), typed(place, "login", "corp", "--no-browser") as process:
        back = sign_in(bao, shown(place))
        forged = re.sub("state=[^&]*", "state=forged", back)
        assert visit(back, Host="evil.example:8250")[0] == 400
        assert visit(back, Origin="https://evil.example")[0] == 403
        assert visit(back.replace("/oidc/callback", "/"))[0] == 404
        assert visit(forged)[0] == 200
        with pytest.raises(urllib.error.HTTPError, match="501"):
            urllib.request.urlopen(back, b"", timeout=DEADLINE_S)  # noqa: S310  # the loopback
        assert process.poll() is None
        assert visit(back)[0] == 200
        assert process.wait(DEADLINE_S) == 0, said(place)


def test_a_stolen_answer_is_of_no_use_to_others(place: Place, bao: Company, keyed: dict[str, str]) -> None:
    """Whoever reads code and state in the browser lacks the nonce that the daemon holds."""
    with running(place, env=keyed), typed(place, "login", "corp", "--no-browser"):
        url = shown(place)
        stolen = {name: values[0] for name, values in parse_qs(urlsplit(sign_in(bao, url)).query).items()}
        stolen["nonce"] = parse_qs(urlsplit(url).query)["nonce"][0]
        with pytest.raises(AssertionError, match="client_nonce"):
            bao.call("GET", f"auth/oidc/oidc/callback?{urlencode(stolen)}", token="")


def test_a_refusal_of_the_provider_is_told(place: Place, keyed: dict[str, str]) -> None:
    """In the provider's words, without what could steer the terminal."""
    with running(place, env=keyed), typed(place, "login", "corp", "--no-browser") as process:
        query = parse_qs(urlsplit(shown(place)).query)
        answer = {"state": query["state"][0], "error": "access_denied", "error_description": "not\x1b[2Jyou"}
        visit(f"{query['redirect_uri'][0]}?{urlencode(answer)}")
        assert process.wait(DEADLINE_S) == 77
        assert said(place).endswith("the identity provider refused: not\ufffd[2Jyou\n")


def test_ctrl_c_ends_it_at_once(place: Place, bao: Company, keyed: dict[str, str]) -> None:
    """And the next try has another address; the page is gone."""
    with running(place, env=keyed):
        with typed(place, "login", "corp", "--no-browser") as process:
            back = sign_in(bao, shown(place))
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_S) == 130
        with pytest.raises(ConnectionRefusedError):
            visit(back)
        login(place, bao)
