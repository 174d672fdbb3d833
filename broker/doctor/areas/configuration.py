"""The config: every error of it, in the words of `broker config check`."""

from __future__ import annotations

import os

from broker.doctor.finding import Finding, error, fine, notice, parted
from broker.doctor.scene import Scene
from broker.errors import ConfigError

_WHY = "the daemon does not start with it, and one that runs keeps its old one"


def check(scene: Scene) -> list[Finding]:
    """Read the config as the daemon does."""
    found = scene.config()
    path = scene.places.config
    if isinstance(found, ConfigError):
        if not os.path.lexists(path):
            why = "it says which credentials there are; without it there is no daemon"
            return [error("config-missing", f"{path}: there is no config yet", why, "broker setup claude-code")]
        edit = f"edit {path}, then: broker config check"
        return [error("config", what, _WHY, mend) for what, mend in (parted(one, edit) for one in found.problems)]
    count = f"{len(found.credentials)} credential{'' if len(found.credentials) == 1 else 's'}"
    if found.default is None:
        names = ", ".join(sorted(found.credentials))
        mend = f'put default = "NAME" at the top of {path}, or name one in every helper command'
        return [notice("no-default", f"{count}, and none is the default ({names})", "asking for none is refused", mend)]
    return [fine("config", f"{count}, default {found.default}")]
