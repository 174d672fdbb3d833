"""Every place secrets come from. Importing this loads no source's library: that waits for the first fetch.

`interface` is what a source is to the rest; each is a file or a folder here. What several share: `answer`, `expiry` and
`complaint` read what others say, `references` settings that are secrets, `program` and `process` run other programs, `web`
speaks HTTP, `blocking` has threads for libraries that wait. Concrete sources are known to the daemon and the command line.
"""

from typing import Final

from broker.sources.anthropic import ANTHROPIC
from broker.sources.aws import AWS
from broker.sources.command import COMMAND
from broker.sources.demo import DEMO
from broker.sources.env import ENV
from broker.sources.file import FILE
from broker.sources.gcp import GCP
from broker.sources.interface import DEFAULT_TIMEOUT_S, Fetcher, Source, SourceType
from broker.sources.keyring import KEYRING
from broker.sources.litellm import LITELLM
from broker.sources.local import LOCAL
from broker.sources.oauth import OAUTH
from broker.sources.pool import POOL
from broker.sources.vault import VAULT

TYPES: Final[dict[str, SourceType]] = {
    type_.name: type_
    for type_ in (AWS, KEYRING, ENV, FILE, LOCAL, COMMAND, DEMO, VAULT, GCP, LITELLM, ANTHROPIC, OAUTH, POOL)
}
"""The source types by the name that `type = "..."` gives."""

__all__ = ["DEFAULT_TIMEOUT_S", "TYPES", "Fetcher", "Source", "SourceType"]
