"""Which keys a real LiteLLM takes, told by the test's key store: LiteLLM loads this as its `custom_auth`.

Runs in LiteLLM's own environment, as a file of its own beside the config.
"""

from __future__ import annotations

import json
import os
import urllib.request
from asyncio import to_thread
from typing import Any

from litellm.proxy._types import (  # type: ignore[import-not-found]  # another environment's
    ProxyErrorTypes,
    ProxyException,
    UserAPIKeyAuth,
)


async def check(_request: object, api_key: str | None) -> Any:  # noqa: ANN401  # of LiteLLM's
    """Let a key pass as long as the store knows it; refuse the others as LiteLLM refuses an expired one."""
    if not api_key or not await to_thread(_is_good, api_key):
        raise ProxyException("Authentication Error - Expired Key.", ProxyErrorTypes.expired_key, "key", 401)
    return UserAPIKeyAuth(api_key=api_key)


def _is_good(key: str) -> bool:
    request = urllib.request.Request(  # noqa: S310  # the test's own server on the loopback
        f"{os.environ['KEY_STORE']}/accepts", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  # as above
        return bool(json.load(answer)["good"])
