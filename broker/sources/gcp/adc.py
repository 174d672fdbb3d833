"""Application default credentials: where they are on this machine, in Google's order.

https://cloud.google.com/docs/authentication/application-default-credentials: the file that a variable names, the file
that gcloud keeps, the metadata server. google.auth's own search believes whatever it finds, and hangs where a network
swallows packets.
"""

from __future__ import annotations

import http.client
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.errors import PermanentFetchError
from broker.sources.gcp import places
from broker.sources.references import Reference

VARIABLE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_HOST: Final = ("GCE_METADATA_HOST", "GCE_METADATA_ROOT")
_DEFAULT_HOST: Final = "metadata.google.internal"
_ADDRESS: Final = ("169.254.169.254", 80)
_DETECT_S: Final = 1.0
_PRODUCT: Final = Path("/sys/class/dmi/id/product_name")
_SERVERLESS: Final = ("K_SERVICE", "CLOUD_RUN_JOB", "GAE_SERVICE", "FUNCTION_TARGET")
_FILE: Final = "application_default_credentials.json"


def file() -> tuple[Reference, str] | None:
    """Return where the JSON is, and how to call that; None where there is no file.

    Raises `PermanentFetchError` where the variable names none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not named.startswith("/"):
            raise PermanentFetchError(f"{VARIABLE} of the daemon's environment must be an absolute path")
        return Reference(file=named), f"{named} ({VARIABLE})"
    path = _gclouds()
    return (Reference(file=str(path)), str(path)) if path.exists() else None


def metadata_host() -> str | None:
    """Return the host and port of the metadata server; None where the environment says that there is none.

    Raises `PermanentFetchError` where it is on this machine.
    """
    if os.environ.get("NO_GCE_CHECK", "").lower() == "true":
        return None
    host = next((os.environ[name] for name in _HOST if os.environ.get(name)), _DEFAULT_HOST)
    if places.is_loopback(f"http://{host}"):
        # A daemon that was started by a shell with the variables of `broker env` would ask itself, without end.
        raise PermanentFetchError(
            f"{_HOST[0]} of the daemon's environment is on this machine, such as the broker's own endpoint; restart it"
            f" without: env -u {_HOST[0]} -u GCE_METADATA_IP broker restart"
        )
    return host


def metadata_is_there() -> bool:
    """Whether this machine is one of Google's, found out within a second. Raises `PermanentFetchError`."""
    host = metadata_host()
    if host is None:
        return False
    if host != _DEFAULT_HOST or any(os.environ.get(name) for name in _SERVERLESS):
        return True
    with suppress(OSError):
        if _PRODUCT.read_text(errors="replace").startswith("Google"):
            return True
    return _answers()


def _answers() -> bool:
    """Ask by number, as elsewhere the name may take the resolver half a minute to be unknown; other clouds answer too."""
    connection = http.client.HTTPConnection(*_ADDRESS, timeout=_DETECT_S)
    try:
        connection.request("GET", "/", headers={"Metadata-Flavor": "Google"})
        return connection.getresponse().getheader("Metadata-Flavor") == "Google"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _gclouds() -> Path:
    folder = os.environ.get("CLOUDSDK_CONFIG")
    return Path(folder or os.path.expanduser("~/.config/gcloud")) / _FILE  # noqa: PTH111  # Path.expanduser raises instead
