"""Where Claude Code would send a token: files and variables -> verdict. What the audience guard is made of.

Pure: the shell round it reads files, environments and command lines, this package only judges them.
"""

from broker.engine.destination.arguments import Flags, flags
from broker.engine.destination.judgement import findings, judge
from broker.engine.destination.known import Allowed, Known, Pins, Refused, Scope, SettingsFile, Verdict
from broker.engine.destination.places import Repository, main_checkout, project_files

__all__ = [
    "Allowed",
    "Flags",
    "Known",
    "Pins",
    "Refused",
    "Repository",
    "Scope",
    "SettingsFile",
    "Verdict",
    "findings",
    "flags",
    "judge",
    "main_checkout",
    "project_files",
]
