"""What an installer gets: a wheel with the native helper where a compiler works, with its Python twin where none does."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

import broker
from tests.helper.harness import TOKEN, Said, ok, serving

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[2]
NAME: Final = f"claude_credential_broker-{broker.__version__}"
PLATFORM: Final = sysconfig.get_platform().replace("-", "_").replace(".", "_")
NATIVE: Final = f"{NAME}-py3-none-{PLATFORM}.whl"
PYTHON: Final = f"{NAME}-py3-none-any.whl"


def build(target: str, into: Path, *, source: Path = ROOT, env: Mapping[str, str] | None = None) -> Path:
    """Build one distribution by the project's own build backend and return it; raise with its words if it fails."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)]
    clean = {name: value for name, value in os.environ.items() if name not in {"CC", "BROKER_HELPER"}}
    done = subprocess.run(command, cwd=source, env=clean | dict(env or {}), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def native_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build with the machine's compiler."""
    return build("wheel", tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def python_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build on a machine whose compiler does not work."""
    return build("wheel", tmp_path_factory.mktemp("python"), env={"CC": "/bin/false"})


def script(wheel: Path) -> bytes:
    """Read the helper out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"{NAME}.data/scripts/broker-helper")


def metadata(wheel: Path) -> str:
    """Read what a wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"{NAME}.dist-info/WHEEL").decode()


def test_with_a_compiler_the_wheel_is_native_and_says_so(native_wheel: Path) -> None:
    """The tag names the platform that the helper inside runs on, and no particular Python."""
    assert native_wheel.name == NATIVE
    assert script(native_wheel).startswith((b"\x7fELF", b"\xcf\xfa\xed\xfe"))
    assert "Root-Is-Purelib: false" in metadata(native_wheel)
    assert f"Tag: py3-none-{PLATFORM}" in metadata(native_wheel)


def test_without_a_compiler_the_wheel_is_pure_and_says_so(python_wheel: Path) -> None:
    """The Python helper takes the place, in a wheel for any platform."""
    assert python_wheel.name == PYTHON
    assert script(python_wheel).startswith(b"#!/bin/sh\n")
    assert "Root-Is-Purelib: true" in metadata(python_wheel)


def test_the_python_helper_can_be_chosen(tmp_path: Path, python_wheel: Path) -> None:
    """BROKER_HELPER=python makes the same wheel where a compiler works."""
    chosen = build("wheel", tmp_path, env={"BROKER_HELPER": "python"})
    assert chosen.name == PYTHON
    assert script(chosen) == script(python_wheel)


def test_a_native_helper_can_be_insisted_on(tmp_path: Path) -> None:
    """Who publishes native wheels gets an error, not another wheel, when the compiler fails."""
    with pytest.raises(RuntimeError, match="no working C compiler"):
        build("wheel", tmp_path, env={"BROKER_HELPER": "native", "CC": "/bin/false"})


@pytest.mark.parametrize("does", ["exit 0", 'printf x >"$2"', 'printf x >"$2"; chmod +x "$2"'])
def test_a_compiler_that_only_claims_to_work_is_not_believed(tmp_path: Path, does: str) -> None:
    """What it made is run once before it goes into a wheel."""
    liar = tmp_path / "cc"
    liar.write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n{does}\n')
    liar.chmod(0o755)
    assert build("wheel", tmp_path / "dist", env={"CC": str(liar)}).name == PYTHON


def test_a_compiler_that_does_not_exist_is_no_error(tmp_path: Path) -> None:
    """A wrong CC costs the native helper, not the installation."""
    assert build("wheel", tmp_path, env={"CC": "/nonexistent/cc"}).name == PYTHON


def test_a_system_without_static_libraries_gets_a_dynamic_helper(tmp_path: Path) -> None:
    """A compiler that cannot link statically still makes a native helper."""
    picky = tmp_path / "cc"
    picky.write_text('#!/bin/sh\ncase " $* " in *" -static "*) exit 1 ;; esac\nexec cc "$@"\n')
    picky.chmod(0o755)
    wheel = build("wheel", tmp_path / "dist", env={"CC": str(picky)})
    assert wheel.name == NATIVE
    assert script(wheel).startswith((b"\x7fELF", b"\xcf\xfa\xed\xfe"))


def test_the_source_distribution_builds_both(tmp_path: Path) -> None:
    """From the sdist, without the repository, either helper can be built."""
    sdist = build("sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    source = tmp_path / "source" / NAME
    assert build("wheel", tmp_path / "native", source=source).name == NATIVE
    assert build("wheel", tmp_path / "python", source=source, env={"BROKER_HELPER": "python"}).name == PYTHON


@contextmanager
def installed(wheel: Path, folder: Path) -> Iterator[Path]:
    """Install a wheel alone into a fresh environment; give its folder of scripts."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q", "--no-deps"]
    subprocess.run([*pip, "--no-index", "--disable-pip-version-check", str(wheel)], check=True)
    yield folder / "bin"


def run_helper(scripts: Path, folder: Path, *, autostart: str = "0") -> Said:
    """Run an installed helper with a small environment."""
    env = {"HOME": str(folder), "BROKER_SOCKET": f"{folder}/r/broker.sock", "BROKER_AUTOSTART": autostart}
    done = subprocess.run([scripts / "broker-helper"], env=env, capture_output=True, timeout=30, check=False)
    return Said(done.returncode, done.stdout, done.stderr.decode())


@pytest.mark.parametrize("kind", ["native", "python"])
@pytest.mark.parametrize("name", ["venv", "a venv"])
def test_an_installed_helper_works(tmp_path: Path, kind: str, name: str, request: pytest.FixtureRequest) -> None:
    """It prints the token, and the `broker` it would start is the one installed beside it; blanks in paths are fine."""
    wheel = request.getfixturevalue(f"{kind}_wheel")
    (tmp_path / "r").mkdir(mode=0o700)
    with installed(wheel, tmp_path / name) as scripts:
        with serving(tmp_path / "r" / "broker.sock", ok()):
            said = run_helper(scripts, tmp_path)
        assert (said.code, said.out, said.err) == (0, TOKEN + b"\n", "")
        (scripts / "broker").unlink()
        (scripts / "broker").write_text("#!/bin/sh\nexit 78\n")
        (scripts / "broker").chmod(0o755)
        said = run_helper(scripts, tmp_path, autostart="1")
        assert (said.code, said.out) == (69, b"")
        assert f"{scripts}/broker start failed (exit 78)" in said.err


def test_the_installed_python_helper_loads_nothing_of_the_environments(tmp_path: Path, python_wheel: Path) -> None:
    """It runs as with -I -S although installers drop these flags: no site, no sitecustomize, half the start-up time."""
    (tmp_path / "r").mkdir(mode=0o700)
    with installed(python_wheel, tmp_path / "venv") as scripts:
        (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
        (packages / "sitecustomize.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'w')\n")
        with serving(tmp_path / "r" / "broker.sock", ok()):
            said = run_helper(scripts, tmp_path)
    assert (said.code, said.out) == (0, TOKEN + b"\n")
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize("kind", ["native", "python"])
def test_the_helper_tells_its_version_and_kind(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """`broker-helper --version` answers for bug reports."""
    with installed(request.getfixturevalue(f"{kind}_wheel"), tmp_path / "venv") as scripts:
        done = subprocess.run([scripts / "broker-helper", "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", f"broker-helper {broker.__version__} ({kind})\n")


def test_an_installation_finds_its_systemd_units(tmp_path: Path, python_wheel: Path) -> None:
    """`broker setup systemd` needs no checkout."""
    show = (
        "from broker.integrations.systemd_units import *; print(*(u.wanted for u in installed(Path('/'), program())))"
    )
    with installed(python_wheel, tmp_path / "venv") as scripts:
        done = subprocess.run(
            [scripts / "python", "-Ic", show], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    assert f'\nExecStart="{scripts}/broker" run\n' in done.stdout
    assert "\nListenStream=%t/broker/broker.sock\n" in done.stdout


@pytest.mark.parametrize("helper", ["native", "python"])
def test_an_editable_installation_has_a_helper_too(tmp_path: Path, helper: str) -> None:
    """Who develops the project runs the same helper as everybody else."""
    wheel = build("wheel:editable", tmp_path / "dist", env={"BROKER_HELPER": helper})
    (tmp_path / "r").mkdir(mode=0o700)
    with installed(wheel, tmp_path / "venv") as scripts, serving(tmp_path / "r" / "broker.sock", ok()):
        said = run_helper(scripts, tmp_path)
    assert (said.code, said.out, said.err) == (0, TOKEN + b"\n", "")
