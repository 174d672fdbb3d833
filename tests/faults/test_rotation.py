"""What a person can rely on while many processes want a token by one sign-in, and the daemon is killed at random.

The long version, and what no protocol survives, by a command: see `rotation`.
"""

from __future__ import annotations

import pytest

from tests.faults import rotation
from tests.real.conftest import Need
from tests.real.provider import available

ROTATIONS = 20
PROCESSES = 8


@pytest.mark.slow
@pytest.mark.real
def test_a_refresh_token_that_is_good_once_is_never_lost_and_never_used_twice(need: Need) -> None:
    """At a provider that ends the sign-in of whoever shows a used one."""
    need(available(), "node or npm's oidc-provider is missing")
    told = rotation.run(ROTATIONS, PROCESSES, late_ms=150, a_life=8)
    assert (told.reuses, told.lost) == (0, 0), str(told)
    assert told.rotations >= ROTATIONS
    # Else the moments were not those that matter, and the test shows nothing.
    assert told.in_flight > 0, str(told)
    assert told.kills > 1, str(told)
