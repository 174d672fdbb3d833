"""What this project exists for: pure decisions, no I/O and no I/O library."""
