"""A local credential broker for Claude Code: one daemon holds every key fresh, one tiny helper hands it out."""

__version__ = "0.1.0"
