"""The areas that are looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from broker.doctor.areas import (
    audit,
    aws,
    claude_code,
    clock,
    configuration,
    credentials,
    daemon,
    files,
    gcp,
    guard,
    helper,
    oauth,
    places,
    pools,
    service,
    storage,
)
from broker.doctor.finding import Finding
from broker.doctor.scene import Scene

Check = Callable[[Scene], list[Finding]]

ALL: Final[Mapping[str, Check]] = {
    "places": places.check,
    "config": configuration.check,
    "daemon": daemon.check,
    "helper": helper.check,
    "credentials": credentials.check,
    "OAuth": oauth.check,
    "pools": pools.check,
    "Claude Code": claude_code.check,
    "AWS": aws.check,
    "Google": gcp.check,
    "guard": guard.check,
    "storage": storage.check,
    "audit": audit.check,
    "systemd": service.check,
    "files": files.check,
    "clock": clock.check,
}
"""Every area's check, by its name, in the order in which a person reads them."""
