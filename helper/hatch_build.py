"""Build hook of hatchling: puts `broker-helper` into the wheel, native where a compiler works, else in Python.

Also the systemd units, except into an editable installation, which finds them in its checkout.

`BROKER_HELPER=python` forces the Python one, `BROKER_HELPER=native` makes a build without a working compiler fail;
`CC` names the compiler.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE: Final = Path(__file__).resolve().parent
SCRIPT: Final = "broker-helper"
MODULE_FOLDER: Final = "libexec/claude-credential-broker"
"""Where broker_helper.sh looks for the modules, relative to the installation's prefix."""

_COMPILERS: Final = (["musl-gcc"], ["cc"])
"""musl first, where it is installed: glibc's start-up takes longer than all the rest of the helper's run."""

_LINKING: Final[tuple[list[str], ...]] = (["-static", "-s", "-Wl,-z,noseparate-code"], ["-static", "-s"], ["-s"], [])
"""The quickest to start first; with fewer parts to map, a tenth of a start is saved."""

_FLAGS: Final = ("-std=c11", "-O2", "-Wall", "-Wextra")
"""Without -Werror: on a user's machine a new compiler's new warning must not cost them the native helper."""


class HelperHook(BuildHookInterface):  # type: ignore[type-arg]  # its parameter is the builder's config, unused here
    """Adds the helper to wheels, also to the editable kind."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the helper into a temporary folder and name it in the wheel."""
        if version != "editable":
            build_data["force_include"]["systemd"] = "broker/integrations/units"
        self._folder = Path(tempfile.mkdtemp(prefix="broker-helper-"))
        wanted = os.environ.get("BROKER_HELPER", "")
        native = None if wanted == "python" else compile_native(self._folder / SCRIPT, self.metadata.version)
        if native is not None:
            build_data["shared_scripts"][str(native)] = SCRIPT
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform_tag()}"
            return
        if wanted == "native":
            raise RuntimeError("BROKER_HELPER=native, but no working C compiler was found; install one or set CC")
        if not wanted:
            self.app.display_warning("no working C compiler (set CC to name one): installing the Python broker-helper")
        script, modules = write_python(self._folder, self.metadata.version)
        build_data["shared_scripts"][str(script)] = SCRIPT
        build_data["shared_data"] |= {str(module): f"{MODULE_FOLDER}/{module.name}" for module in modules}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002  # the same
        """Remove the temporary folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def compile_native(target: Path, version: str) -> Path | None:
    """Compile the C helper and see that it runs: static where the system has the libraries for it, else dynamic.

    Returns None where no compiler works.
    """
    chosen = shlex.split(os.environ.get("CC", ""))
    sources = [str(source) for source in sorted(HERE.glob("*.c"))]
    define = f'-DBROKER_VERSION="{version}"'
    for compiler in [chosen] if chosen else _COMPILERS:
        for linking in _LINKING:
            if _succeeds([*compiler, *_FLAGS, define, *linking, "-o", str(target), *sources]) and _succeeds(
                [str(target), "--version"]
            ):
                return target
    return None


def write_python(folder: Path, version: str) -> tuple[Path, list[Path]]:
    """Write the Python helper's script and modules into `folder`, the version filled in."""
    script = Path(shutil.copy(HERE / "broker_helper.sh", folder / SCRIPT))
    script.chmod(0o755)
    sources = sorted(HERE.glob("broker_*.py"))
    for source in sources:
        text = source.read_text().replace('VERSION = "unbuilt"', f'VERSION = "{version}"')
        (folder / source.name).write_text(text)
    return script, [folder / source.name for source in sources]


def platform_tag() -> str:
    """Name the platform that the compiler builds for; macOS's compilers build for the machine's own kind only."""
    tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return tag.replace("universal2", platform.machine())


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
