"""Claude Code's settings file: what `broker setup claude-code` reads, changes and puts back."""
