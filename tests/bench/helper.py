"""What asking costs: the helpers, against what a developer would use otherwise.

`git credential-cache get` is the nearest relative: a C client that asks a warm daemon on a Unix socket for a stored
secret. `/bin/true` is what starting any program costs, `python3 -I -S -c pass` any Python program.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker.integrations import installed_helper
from tests.bench.figure import Figure, show
from tests.bench.measure import BIN_TRUE, Command, warm_seconds
from tests.bench.place import MissingProgram, daemon, program
from tests.real.installed import HELPER

ROUNDS: Final = 20
PYTHON_ROUNDS: Final = 6
BASE_PYTHON: Final = str(Path(sys._base_executable).resolve())  # type: ignore[attr-defined]  # untyped, and the only way

_HELPER_SOURCES: Final = Path(__file__).parents[2] / "helper"
_TOKEN: Final = "fake-token-1"
_KEYS: Final = {
    "Version": 1,
    "AccessKeyId": "FAKEID",
    "SecretAccessKey": _TOKEN,
    "SessionToken": "x" * 1000,  # the usual length of a role's
    "Expiration": "2099-01-01T00:00:00Z",
}
_CONFIG: Final = f"""
default = "work"
[credentials.work]
source = "command"
argv = ["/bin/echo", "{_TOKEN}"]
[credentials.cloud]
source = "command"
argv = ["/bin/echo", {json.dumps(json.dumps(_KEYS))}]
"""


def figures() -> list[Figure]:
    """Measure the native helper and the Python one, each against its yardsticks."""
    if installed_helper.kind(HELPER) != "native":
        raise MissingProgram(
            f"{HELPER} is {installed_helper.kind(HELPER)}, not native: install a C compiler and this project"
        )
    with daemon(_CONFIG) as place, git_credential_cache(place.folder) as git:
        native = Command([str(HELPER)], place.env)
        aws = Command([str(HELPER), "--aws", "cloud"], place.env)
        python = Command([str(python_helper(place.folder / "python"))], place.env)
        _expect_token(native)
        _expect_token(python)
        _expect_token(aws)
        return [*_native(native, git), *_python(python), _aws(aws, native)]


def _native(native: Command, git: Command) -> list[Figure]:
    took = warm_seconds(ROUNDS, native=native, git=git, true=BIN_TRUE)
    detail = f"{_ms(took['native'])} against {{}}"
    return [
        Figure(
            "native helper / git credential-cache get",
            took["native"] / took["git"],
            0.65,
            detail=detail.format(_ms(took["git"])),
        ),
        Figure(
            "native helper / /bin/true", took["native"] / took["true"], 1.8, detail=detail.format(_ms(took["true"]))
        ),
    ]


def _python(python: Command) -> list[Figure]:
    nothing = Command([BASE_PYTHON, "-I", "-S", "-c", "pass"])
    took = warm_seconds(PYTHON_ROUNDS, python=python, nothing=nothing)
    detail = f"{_ms(took['python'])} against {_ms(took['nothing'])}"
    return [Figure("Python helper / python3 -I -S -c pass", took["python"] / took["nothing"], 1.4, detail=detail)]


def _aws(aws: Command, native: Command) -> Figure:
    took = warm_seconds(ROUNDS, aws=aws, native=native)
    detail = f"{_ms(took['aws'])} against {_ms(took['native'])}"
    return Figure("native helper --aws / native helper", took["aws"] / took["native"], 1.15, detail=detail)


@contextmanager
def git_credential_cache(folder: Path) -> Iterator[Command]:
    """Store a secret in git's cache daemon; give the command that gets it back, as git itself runs it."""
    env = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "PATH": "/usr/bin:/bin"}
    git = [program("git"), "credential-cache"]
    wanted = folder / "wanted"
    wanted.write_text("protocol=https\nhost=bench.example\nusername=me\n\n")
    stored = wanted.read_text().strip() + f"\npassword={_TOKEN}\n\n"
    subprocess.run([*git, "store"], env=env, input=stored, text=True, check=True)
    try:
        get = Command([*git, "get"], env, stdin=wanted)
        _expect_token(get)
        yield get
    finally:
        subprocess.run([*git, "exit"], env=env, stdin=subprocess.DEVNULL, check=False)


def python_helper(prefix: Path) -> Path:
    """Lay out the Python helper as an installation without a compiler does: its neighbour names the interpreter."""
    scripts, modules = prefix / "bin", prefix / "libexec" / "claude-credential-broker"
    scripts.mkdir(parents=True)
    modules.mkdir(parents=True)
    for module in _HELPER_SOURCES.glob("broker_*.py"):
        shutil.copy(module, modules)
    (scripts / "broker").write_text(f"#!{sys.executable}\n")
    helper = Path(shutil.copy(_HELPER_SOURCES / "broker_helper.sh", scripts / "broker-helper"))
    helper.chmod(0o755)
    return helper


def _expect_token(command: Command) -> None:
    """See that it does its work before its time is taken."""
    with command.stdin.open() as stdin:
        done = subprocess.run(
            command.argv, env=dict(command.env), stdin=stdin, stdout=subprocess.PIPE, text=True, check=True
        )
    if _TOKEN not in done.stdout:
        raise RuntimeError(f"{' '.join(command.argv)} did not print the token")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


if __name__ == "__main__":
    sys.exit(show(figures()))
