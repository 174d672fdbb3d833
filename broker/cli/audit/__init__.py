"""`broker audit`: `view` turns lines of the trail into words, for a pipe as they are, for a terminal by `table`."""
