"""Files and services of other programs that the broker reads or edits.

`claude_settings` and `project` read Claude Code's settings for the audience guard; `claude_code` changes them for `broker
setup`, as `aws_setup`, `gcp_clients` and `systemd_units` do for other programs, by `textfile` and `setup_records`;
`importing` reads what other tools keep in plain text. `notify` and `logind` speak to the running system.
"""
