"""One file for each area that is looked at: its `check(scene)` returns what was found there."""
