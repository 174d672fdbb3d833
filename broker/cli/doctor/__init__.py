"""`broker doctor`: `view` turns what the package `broker.doctor` found into words, which `table` draws for a terminal."""
