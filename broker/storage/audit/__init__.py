"""The audit trail: who was given what, when, in lines that nobody without the key can change unnoticed."""

from broker.storage.audit.chain import Facts, Key, Link
from broker.storage.audit.proof import Verdict, verify
from broker.storage.audit.reading import Follower, last_lines
from broker.storage.audit.recorder import Audit

__all__ = ["Audit", "Facts", "Follower", "Key", "Link", "Verdict", "last_lines", "verify"]
