"""What Google refuses, in our words: one line with what mends it, never quoting what was sent.

Google speaks in two ways: OAuth's `{"error": "invalid_grant", "error_description"}` at its token endpoints, and
`{"error": {"status", "message", "details"}}` at its services (https://google.aip.dev/193).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from broker.errors import FetchError, LoginRequired, PermanentFetchError, TransientFetchError
from broker.sources.complaint import last_line

if TYPE_CHECKING:
    from broker.sources.gcp.identity import Identity
    from broker.sources.gcp.transport import Answer

METADATA: Final = "/computeMetadata/v1/"
_SKEW_S: Final = 60.0
"""Google takes a signed assertion whose time is wrong by a few minutes; what is less than this is not the reason."""
_GCLOUDS_PROJECT: Final = "764086051850"
"""The number of the project that gcloud itself belongs to: whoever sets no quota project is counted there."""
_PROJECT: Final = re.compile(r"projects/([A-Za-z0-9.:-]{1,100})")
_UNLIKE_A_WORD: Final = re.compile(
    r"[^\s\"']*[^\s\"'A-Za-z0-9,.:;()\[\]/_*-][^\s\"']*|(?=\S*\d)[^\s\"']{8,}|[^\s\"']{60,}"
)
"""What may be part of a secret in Google's words: an exchange that is refused may quote the token that it was given."""
_REAUTH: Final = frozenset({"invalid_rapt", "rapt_required"})


class Refusal(Exception):
    """Google said no: the library's error, and the answer that it is about. Never leaves this package."""

    def __init__(self, error: Exception | None, answer: Answer | None) -> None:
        super().__init__()
        self.error = error
        self.answer = answer


def translated(refusal: Refusal, identity: Identity, login: str) -> FetchError:
    """Say why. `login`: what a person runs to sign in again, where a person's sign-in is behind it."""
    answer = refusal.answer
    if answer is None or answer.status == 200:  # noqa: PLR2004  # HTTP's
        return _of_library(refusal, identity)
    if identity.document is None and METADATA in answer.url:
        return PermanentFetchError(
            f"{_host(answer)}: the metadata server refuses (status {answer.status}); has this machine a service account?"
        )
    body = answer.json
    error = body.get("error")
    if isinstance(error, Mapping):
        return _of_service(error, answer, identity)
    return _of_oauth(str(error or ""), body, refusal, identity, login)


def _of_library(refusal: Refusal, identity: Identity) -> FetchError:
    """Nobody answered: it is about the credentials themselves."""
    said = _said(str(refusal.error or "no token in the answer"), identity, refusal.answer)
    kind = TransientFetchError if getattr(refusal.error, "retryable", False) else PermanentFetchError
    return kind(f"{_where(identity)}: {said}")


def words_of(answer: Answer) -> str:
    """Word what a token endpoint says of a sign-in."""
    said = [str(answer.json.get(name, "")) for name in ("error", "error_description")]
    line = last_line(": ".join(part for part in said if part).encode(), b"", answer.sent)
    mend = _OAUTH.get(said[0], "sign in once more")
    return f"{_UNLIKE_A_WORD.sub('***', line) or f'status {answer.status}'}; {mend}"


# --- token endpoints ------------------------------------------------------------------------------------------------


def _of_oauth(error: str, body: Mapping[str, Any], refusal: Refusal, identity: Identity, login: str) -> FetchError:
    assert refusal.answer is not None  # noqa: S101  # for the type checker; `translated` looked
    said = str(body.get("error_description") or body.get("error_subtype") or "")
    where, words = _host(refusal.answer), _said(f"{error}: {said}" if said else error, identity, refusal.answer)
    if identity.of_person and (body.get("error_subtype") in _REAUTH or "eauthentication" in said or "rapt" in said):
        return LoginRequired(f"{where}: your organisation wants you to sign in again; run: {login}")
    if "Invalid JWT" in said and "ignature" not in said:
        return _skewed(refusal.answer, words)
    if error == "invalid_grant":
        if identity.of_person:
            return LoginRequired(f"{where}: the sign-in has ended ({words}); run: {login}")
        return PermanentFetchError(f"{where}: {words}; {_about_key(identity)}")
    if getattr(refusal.error, "retryable", False) or refusal.answer.status >= 500:  # noqa: PLR2004  # HTTP's
        return TransientFetchError(f"{where}: {words or 'fails'} (status {refusal.answer.status})")
    mend = _OAUTH.get(error, "check `credentials` of the source")
    return PermanentFetchError(f"{where}: {words or f'refused with status {refusal.answer.status}'}; {mend}")


_OAUTH: Final = {
    "invalid_client": "the client of the sign-in is unknown or its secret wrong; check client_id and client_secret",
    "deleted_client": "the client of the sign-in was deleted; make another, and set client_id",
    "unauthorized_client": "check that the account exists, and what the pool's provider demands of it",
    "invalid_scope": "check `scopes` of the credential, and those that the sign-in agreed to",
    "invalid_target": "check audience of the credentials' JSON: the pool and its provider",
}


def _skewed(answer: Answer, words: str) -> FetchError:
    ahead_s = answer.ahead_s
    if ahead_s is None or abs(ahead_s) < _SKEW_S:
        return PermanentFetchError(f"{_host(answer)}: {words}; check this machine's clock, and that the key is whole")
    off = f"{max(1, round(abs(ahead_s) / 60))} min {'ahead of' if ahead_s > 0 else 'behind'} Google's"
    return TransientFetchError(
        f"{_host(answer)}: Invalid JWT: this machine's clock is {off}; set it: sudo timedatectl set-ntp true"
    )


def _about_key(identity: Identity) -> str:
    if identity.document is not None and identity.document.origin.get("type") == "service_account":
        account = identity.document.account or "ACCOUNT"
        return f"the key was deleted, or the account disabled; see: gcloud iam service-accounts keys list --iam-account={account}"
    return "the token that is exchanged is not accepted; check who issued it, and its audience"


# --- services -------------------------------------------------------------------------------------------------------


def _of_service(error: Mapping[str, Any], answer: Answer, identity: Identity) -> FetchError:
    reason, metadata = _reason(error)
    words = _said(str(error.get("message") or error.get("status") or ""), identity, answer)
    where, message = _host(answer), str(error.get("message", ""))
    if reason == "SERVICE_DISABLED" or "has not been used in project" in message:
        return PermanentFetchError(f"{where}: {_disabled(metadata, message, answer)}")
    if reason == "USER_PROJECT_DENIED" or "quota project" in message:
        return PermanentFetchError(f"{where}: {_quota(identity, words)}")
    if answer.status == 401:  # noqa: PLR2004  # HTTP's
        return PermanentFetchError(f"{where}: {words}; check `credentials` and universe_domain of the source")
    if ":generate" in answer.url:
        return PermanentFetchError(f"{where}: {_impersonation(answer, identity, words)}")
    if ":access" in answer.url:
        return PermanentFetchError(f"{where}: {_secret(answer, identity, words)}")
    return PermanentFetchError(f"{where}: {words} (status {answer.status})")


def _reason(error: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    details = error.get("details")
    infos = [info for info in details if isinstance(info, dict)] if isinstance(details, list) else []
    info = next((info for info in infos if isinstance(info.get("reason"), str)), {})
    metadata = info.get("metadata")
    return info.get("reason", ""), metadata if isinstance(metadata, dict) else {}


def _disabled(metadata: Mapping[str, Any], message: str, answer: Answer) -> str:
    service = _plain(metadata.get("service")) or _host(answer).removeprefix("https://")
    found = _PROJECT.search(str(metadata.get("consumer", ""))) or re.search(r"project ([a-z0-9-]{1,60})", message)
    project = found[1] if found is not None else "PROJECT"
    if project == _GCLOUDS_PROJECT:
        return f"{service} has no project to count this for; set quota_project of the source"
    return f"{service} is not enabled in project {project}; run: gcloud services enable {service} --project={project}"


def _quota(identity: Identity, words: str) -> str:
    project = identity.quota_project
    if project is None:
        return f"{words}; set quota_project of the source to a project of yours"
    who = identity.asks_as
    return (
        f"{who} may not count its calls to the quota project {project}; grant it the role"
        f" roles/serviceusage.serviceUsageConsumer there, or set another quota_project of the source"
    )


def _impersonation(answer: Answer, identity: Identity, words: str) -> str:
    account, delegates = identity.impersonated or ("the service account", ())
    if answer.status == 404:  # noqa: PLR2004  # HTTP's
        return f"there is no service account {account}; check `impersonate` of the source"
    if answer.status != 403:  # noqa: PLR2004  # HTTP's
        return f"{words} (status {answer.status})"
    role = "roles/iam.serviceAccountTokenCreator"
    who = identity.asks_as
    if delegates:
        chain = " -> ".join((who, *delegates, account))
        return f"each of {chain} needs {role} on the next, and one does not have it; see: gcloud iam service-accounts get-iam-policy"
    return (
        f"{who} may not act as {account}; grant it {role}: gcloud iam service-accounts add-iam-policy-binding {account}"
        f" --role={role} --member={identity.member}"
    )


def _secret(answer: Answer, identity: Identity, words: str) -> str:
    name = answer.url.partition("/projects/")[2].partition("/versions/")[0].replace("/secrets/", " secret ")
    project, _, secret = name.partition(" secret ")
    match answer.status:
        case 403:
            role = "roles/secretmanager.secretAccessor"
            return (
                f"{identity.email or 'the account'} may not read secret {secret} of project {project}; grant it {role}:"
                f" gcloud secrets add-iam-policy-binding {secret} --project={project} --role={role} --member=..."
            )
        case 404:
            return f"no such secret or version; see: gcloud secrets versions list {secret} --project={project}"
        case 400:
            return f"{words}; see: gcloud secrets versions list {secret} --project={project}"
    return f"{words} (status {answer.status})"


# --- words ----------------------------------------------------------------------------------------------------------


def _said(text: str, identity: Identity, answer: Answer | None) -> str:
    known = [secret.reveal() for secret in identity.document.secrets] if identity.document is not None else []
    sent = answer.sent if answer is not None else ()
    line = last_line(" ".join(text.split()).encode(), b"", [*known, *sent])
    return _UNLIKE_A_WORD.sub("***", line)


def _plain(value: object) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9.-]{1,100}", value) else ""


def _host(answer: Answer) -> str:
    scheme, _, rest = answer.url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _where(identity: Identity) -> str:
    return identity.document.where if identity.document is not None else "the metadata server"
