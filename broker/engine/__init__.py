"""What this project exists for: pure decisions, no I/O and no I/O library.

`life` is one credential's (`hand`: the token in hand; `pacing`: how often its source may be asked; `refusal`: what
upstream's refusal leads to; `vocabulary`: the words of all that), `pool` several credentials as one. `callers` says who
asks, and what asking again means; `policy` and `destination` whether it may have the token. `service` runs what is
decided here; what foretells it (the doctor, a setup) asks the same functions.
"""
