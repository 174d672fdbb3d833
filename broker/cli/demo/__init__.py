"""`broker demo`: the tour, and the `stage` that it is given on."""
