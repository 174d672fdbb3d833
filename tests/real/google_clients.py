"""Google's own client libraries, as programs of a developer's: each prints what it found, as JSON, by default code alone."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

from tests import setup_npm
from tests.real.process import DEADLINE_S, coverage_env

AUDIENCE: Final = "https://service.example"
SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"

_PYTHON: Final = f"""
import json, sys
import google.auth, google.oauth2.id_token
from google.auth.transport.requests import Request

credentials, project = google.auth.default(scopes=["{SCOPE}"])
credentials.refresh(Request())
found = {{"project": project, "token": credentials.token, "class": type(credentials).__module__}}
found["account"] = getattr(credentials, "service_account_email", None)
if "id" in sys.argv:
    found["id_token"] = google.oauth2.id_token.fetch_id_token(Request(), "{AUDIENCE}")
print(json.dumps(found))
"""

_NODE: Final = f"""
const {{ GoogleAuth }} = require("google-auth-library");
(async () => {{
  const auth = new GoogleAuth({{ scopes: ["{SCOPE}"] }});
  const client = await auth.getClient();
  const found = {{ project: await auth.getProjectId().catch(() => null), class: client.constructor.name }};
  found.token = (await client.getAccessToken()).token;
  if (process.argv.includes("id")) {{
    const headers = await (await auth.getIdTokenClient("{AUDIENCE}")).getRequestHeaders();
    found.id_token = headers.get("authorization").replace("Bearer ", "");
  }}
  console.log(JSON.stringify(found));
}})().catch((error) => {{ console.error(error.message); process.exit(1); }});
"""


def node_is_there() -> bool:
    """Whether the library from npm can be run."""
    return shutil.which("node") is not None and (setup_npm.FOLDER / "node_modules" / "google-auth-library").exists()


def python(env: Mapping[str, str], *wanted: str) -> subprocess.CompletedProcess[str]:
    """Run google-auth, with this environment and no more; `wanted`: "id", for an ID token beside the token."""
    return _run([sys.executable, "-c", _PYTHON, *wanted], env)


def node(env: Mapping[str, str], *wanted: str) -> subprocess.CompletedProcess[str]:
    """Run google-auth-library in the same way."""
    return _run(["node", "-e", _NODE, "x", *wanted], env)


def found(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what a client found; fail with what it says of its failure."""
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def patient(address: str, path: str, tries: int = 5) -> str:
    """Ask for a token as the libraries do: three seconds a try, and another one where it is not there yet."""
    for _ in range(tries):
        connection = http.client.HTTPConnection(address, timeout=3)
        with contextlib.closing(connection), contextlib.suppress(TimeoutError):
            connection.request("GET", path, headers={"Metadata-Flavor": "Google"})
            answer = connection.getresponse()
            if answer.status == http.HTTPStatus.OK:
                return str(json.load(answer)["access_token"])
            assert answer.status == http.HTTPStatus.SERVICE_UNAVAILABLE, answer.read()
    raise AssertionError(f"no token after {tries} tries")


def _run(command: list[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    bare = {"PATH": "/usr/local/bin:/usr/bin:/bin"} | coverage_env()
    return subprocess.run(
        command,
        env=bare | dict(env),
        cwd=setup_npm.FOLDER,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
