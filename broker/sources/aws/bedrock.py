"""Amazon Bedrock's short-term API key: a signed request in other clothes. No call is made.

What the PyPI package `aws-bedrock-token-generator` builds, byte for byte.
"""

from __future__ import annotations

import base64
import time
from typing import Final

from broker.model import TOKEN, Issued, Kind
from broker.secret import Secret
from broker.sources.aws.session import Session

_HOST: Final = "bedrock.amazonaws.com"
_PREFIX: Final = "bedrock-api-key-"


def api_key(session: Session, region: str, duration_s: float) -> Issued:
    """Make one of a session's keys. It dies with them, and after `duration_s` at the latest."""
    now = time.time()
    text = _signed(session, region, int(duration_s))
    ends = now + duration_s if session.expires_at is None else min(now + duration_s, session.expires_at)
    return Issued({TOKEN: Secret(text)}, ends, Kind.BEDROCK_API_KEY, {**session.details, "region": region})


def _signed(session: Session, region: str, duration_s: int) -> str:
    from botocore.auth import SigV4QueryAuth  # noqa: PLC0415  # late: only who uses AWS pays for it
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415  # see above
    from botocore.credentials import Credentials  # noqa: PLC0415  # see above

    token = session.session_token.reveal() if session.session_token is not None else None
    credentials = Credentials(session.access_key_id, session.secret_access_key.reveal(), token)
    request = AWSRequest(
        method="POST",
        url=f"https://{_HOST}/",
        headers={"host": _HOST},
        params={"Action": "CallWithBearerToken"},
    )
    SigV4QueryAuth(credentials, "bedrock", region, expires=duration_s).add_auth(request)
    presigned = str(request.url).removeprefix("https://") + "&Version=1"
    return _PREFIX + base64.b64encode(presigned.encode()).decode()
