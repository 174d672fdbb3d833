"""A local credential broker for Claude Code: one daemon holds every key fresh, one tiny helper hands it out.

The house from the top; each part imports only what stands below it (pyproject.toml: "Imports go one way"):

  cli                  the command line
  doctor               what is wrong with the whole chain, and how to mend it
  background           the daemon apart from a terminal: started, found, stopped, as a service
  state_folder         what commands do with stored things, whether or not a daemon runs
  daemon               builds every part of one run, and ends it in order
  client, connection   the command line's end of the control socket
  endpoints            the daemon's ends: the control socket, and the faces for other programs
  service              the async shell round the engine: it runs what the engine decides
  integrations         files and services of other programs that are read or edited
  engine               what this project exists for: pure decisions
  config               TOML into frozen structs
  sources              one for each place that secrets come from
  storage              the encrypted store, and the audit trail
  os_keyring, platform  the operating system: its keyring, and what it tells of callers

and below them the words that all of these share: audience, model, durations, sign_in, secret, errors, clock; where things
are (paths), and that they are one daemon's alone (listener, locks). The helper is in helper/, and imports none of this.
"""

__version__ = "0.1.0"
