"""Every place secrets come from."""
