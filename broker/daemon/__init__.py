"""The daemon: `launch` makes it ready, before the server's library is loaded; `serving` is one run of it.

The composition root: nothing but this package and the command line knows every part. Only the command line imports it.
"""
