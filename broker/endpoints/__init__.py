"""The faces to other programs, one file per face."""
