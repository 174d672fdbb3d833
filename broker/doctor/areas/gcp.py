"""Google: what would be taken instead of the broker's metadata server by Claude Code at Vertex."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from broker.doctor import clouds, processes
from broker.doctor.claude import Claude
from broker.doctor.finding import Finding, error, fine, notice, parted, warning
from broker.doctor.scene import Scene
from broker.integrations import gcp_clients

_SETUP: Final = "broker setup claude-code --provider vertex"
_PROJECT: Final = "ANTHROPIC_VERTEX_PROJECT_ID"
_REGION: Final = "CLOUD_ML_REGION"
_GATEWAY: Final = "ANTHROPIC_VERTEX_BASE_URL"
_FILES: Final = ("GOOGLE_APPLICATION_CREDENTIALS", "google_application_credentials")
_BLIND: Final = {"NO_GCE_CHECK": "true", "METADATA_SERVER_DETECTION": "none"}
"""What keeps Google's libraries from looking for a metadata server (google-auth, gcp-metadata)."""

_DETECTION: Final = "METADATA_SERVER_DETECTION"
_SURE: Final = "assume-present"
_WITH_CLAUDE: Final = frozenset(
    ("global", "us", "eu", "us-east5", "us-central1", "us-south1", "europe-west1", "europe-west4", "asia-southeast1")
)
"""Regions that Google names for Claude's models; others come and go, so this is good for a hint only."""


def check(scene: Scene) -> list[Finding]:
    """Look at what concerns Google, where anything does."""
    claude = Claude(scene)
    if not claude.is_on(clouds.VERTEX):
        return [fine("gcp", "nothing stands in our way")]
    found = [*_place(claude), *(_metadata(scene, claude) if clouds.has_metadata(claude) else ())]
    return found or [
        fine("gcp", f"Claude Code uses Vertex by {'metadata' if clouds.has_metadata(claude) else 'helper'}")
    ]


def _place(claude: Claude) -> Iterator[Finding]:
    if claude.variable(_PROJECT) is None:
        yield warning(
            "vertex-project", f"no {_PROJECT} is set", "Claude Code cannot say who pays", f"{_SETUP} --project P"
        )
    region = claude.variable(_REGION)
    if region is None:
        what = f"no {_REGION} is set, so Claude Code uses its own default"
        yield notice("vertex-region", what, "the models may not be there", f"{_SETUP} --region global")
    elif region.text not in _WITH_CLAUDE and claude.variable(_GATEWAY) is None:
        what = f"{_REGION} in {region.where} is none in which Claude's models were seen"
        yield notice("vertex-region", what, "requests may end in 404", f"{_SETUP} --region global")


def _metadata(scene: Scene, claude: Claude) -> Iterator[Finding]:
    for name in _FILES:
        if (said := claude.variable(name)) is not None:
            mend = f"take it out of {said.file}" if said.file else f"unset {name}; and {_SETUP} --via metadata"
            what = f"{name} in {said.where} wins over the metadata server"
            yield error("gcp-stray", what, "Claude Code takes that file's credentials", mend)
    for name, value in _BLIND.items():
        said = claude.variable(name)
        if said is not None and (said.text or "").strip().lower() == value:
            mend = f"take it out of {said.file}" if said.file else f"unset {name}"
            what = f"{name}={value} in {said.where} keeps programs from a metadata server"
            yield error("gcp-blind", what, "they say that there are no credentials", mend)
    leftover = gcp_clients.leftover(scene.env)
    if leftover is not None:
        yield error(
            "gcp-leftover",
            f"{leftover} wins over the metadata server",
            "Claude Code takes gcloud's own sign-in, which ends when nobody thinks of it",
            f"gcloud auth application-default revoke; or {_SETUP} --via helper, over which it does not win",
        )
    yield from _endpoint(scene, claude)
    yield from _too_early(scene, claude)


def _endpoint(scene: Scene, claude: Claude) -> Iterator[Finding]:
    """Whether what the settings say leads to this daemon."""
    said, served = claude.variable(clouds.METADATA), clouds.metadata_credential(scene)
    if scene.status is None or served is None or said is None:
        return
    where, again = f"{clouds.METADATA} in {said.where}", f"{_SETUP} --credential {served} --via metadata"
    face = clouds.face(scene, served)
    why = "Claude Code gets no token there"
    if face.problem:
        what, mend = parted(face.problem, again)
        yield error("gcp-endpoint", f"{where}: {what}", why, mend)
    elif face.variables.get(clouds.METADATA) != said.text:
        yield error("gcp-endpoint-stale", f"{where} is not where the daemon listens now", why, again)


def _too_early(scene: Scene, claude: Claude) -> Iterator[Finding]:
    """Node's library looks for the server once, and remembers for its life that there was none."""
    detection = claude.variable(_DETECTION)
    if scene.status is None or (detection is not None and detection.text == _SURE):
        return
    since = scene.now - float(scene.status["daemon"].get("uptime_s") or 0)
    early = [process for process in processes.claude_codes() if process.started < since]
    if early:
        yield notice(
            "gcp-detection",
            f"{len(early)} Claude Code (pid {early[0].pid} first) began before the daemon did",
            "one that found no metadata server then looks for none again",
            "start Claude Code anew",
        )
