"""What outlives the daemon: the encrypted store, and the audit trail."""
