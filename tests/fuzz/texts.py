"""Fuzz targets: the config's text, and what a source answers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from broker.config import parse
from broker.errors import ConfigError
from broker.secret import is_servable
from broker.sources import TYPES, answer
from tests.fuzz.target import one_line, pure

PLANTED: Final = "fake-planted-secret-7f3a"
"""In the inputs, where a careless message would quote it. Damage may cut it; whole it must appear nowhere."""

CONFIGS: Final = (
    b"",
    b'[credentials.work]\nsource = "command"\nargv = ["/bin/echo", "fake-token-1"]\n',
    f'[credentials.work]\nsource = "command"\nargv = ["/bin/echo"]\napi_key = "{PLANTED}"\n'.encode(),
    f'[sources.corp]\ntype = "vault"\nauth = {{ method = "approle", secret_id = "{PLANTED}" }}\n'.encode(),
    b"""default = "b"
[sources.minted]
type = "demo"
[credentials.a]
source = "minted"
lifetime = "90s"
audience = ["https://*.corp.example:2000/a"]
[credentials.b]
source = "keyring"
service = "s"
username = "u"
""",
    b"""[daemon]
persist = "off"
log_level = "debug"
infer_rejection = false
ttl_max = "1h"
[credentials.f]
source = "file"
path = "~/x"
field = "a.b"
shared = true
min_validity = "0s"
""",
)

ANSWERS: Final = (
    PLANTED.encode(),
    PLANTED.encode() + b"\n",
    f'{{"token": "{PLANTED}", "expires_in": 3600}}'.encode(),
    f'{{"access_token": "{PLANTED}", "expires_at": "2036-01-01T00:00:00Z"}}'.encode(),
    f'{{"status": {{"token": "{PLANTED}", "expirationTimestamp": "2036-01-01T00:00:00Z"}}}}'.encode(),
    f'{{"Version": 1, "AccessKeyId": "AKIAFAKE", "SecretAccessKey": "{PLANTED}", "SessionToken": "t"}}'.encode(),
    b"eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln",
)


def check_config(content: bytes) -> None:
    """A config or its problems, each one line, none with a value in it."""
    try:
        parse(content.decode(errors="replace"), Path("/fake/config.toml"), TYPES, {})
    except ConfigError as error:
        for problem in error.problems or ("\n",):
            one_line(problem, PLANTED)


def check_answer(content: bytes) -> None:
    """A credential that can be served, or an error that does not repeat what was read."""
    for shape in (answer.Shape(), answer.Shape("json", "a.b", "c"), answer.Shape("text")):
        try:
            issued = answer.read(content, shape, 1_800_000_000.0)
        except answer.BadAnswer as bad:
            one_line(str(bad), PLANTED)
        else:
            assert all(is_servable(part.reveal()) for part in issued.parts.values())
            assert PLANTED not in f"{issued!r}{issued.details}"


CONFIG: Final = pure("config", "a config or all its problems; no value is repeated", CONFIGS, check_config, 2000)
ANSWER: Final = pure("answer", "a servable credential, or an error that repeats nothing", ANSWERS, check_answer, 2000)
