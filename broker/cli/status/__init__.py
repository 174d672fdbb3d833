"""`broker status`: `view` turns the daemon's answer into words, `plain`, `table`, `watch` and `check` show these."""
