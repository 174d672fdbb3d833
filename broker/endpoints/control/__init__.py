"""The control socket: its calls, who may make them, and the quick way of a helper's ask."""
