"""What the operating system tells about callers, and how a process guards itself."""
