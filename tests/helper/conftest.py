"""Every test of this folder runs on the native helper, on its Python twin, and on the native one with sanitizers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helper.harness import SANITIZERS, FakeBroker, Place, compile_c, lay_out


@pytest.fixture(scope="session")
def builds() -> Iterator[Path]:
    """Keep what is compiled, under a path short enough for sockets below it."""
    folder = Path(tempfile.mkdtemp(prefix="bh-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def native(builds: Path) -> Path:
    """Compile the native helper as the wheel does: with musl where it is at hand, and linked statically."""
    return compile_c(builds / "native", "-static", compiler=shutil.which("musl-gcc") or "cc")


@pytest.fixture(scope="session")
def sanitized(builds: Path) -> Path:
    """Compile the native helper so that any wild access or undefined arithmetic ends it."""
    return compile_c(builds / "sanitized", *SANITIZERS)


@pytest.fixture
def install(builds: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Place]]:
    """Give `install(kind)`: an installation of that kind of the test's own."""
    folder = Path(tempfile.mkdtemp(dir=builds))
    places = []

    def install_(kind: str) -> Place:
        executable = None if kind == "python" else request.getfixturevalue(kind)
        places.append(lay_out(folder / kind, kind, executable))
        return places[-1]

    yield install_
    for place in places:
        place.stop()
    shutil.rmtree(folder, ignore_errors=True)  # a process just killed may still be making a file


@pytest.fixture(params=["native", "python", pytest.param("sanitized", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, install: Callable[[str], Place]) -> Place:
    """Install each kind in turn: whoever implements the helper keeps the same promises."""
    return install(str(request.param))


@pytest.fixture
def broker(place: Place) -> Iterator[FakeBroker]:
    """Put a `broker` beside the helper that tells on itself."""
    fake = FakeBroker(place)
    yield fake
    fake.stop()
