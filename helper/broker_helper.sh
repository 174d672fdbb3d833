#!/bin/sh
# broker-helper where no compiler worked at installation: starts broker_helper.py with -I -S, which installers drop
# from a script's `#!python -I -S` line. No other program is run on the way: sh costs half a millisecond, not more.

ulimit -c 0 # the token passes through memory, and must not end up in a core file

self=$0
[ ! -h "$self" ] && case $self in /*) true ;; *) false ;; esac || self=$(PATH=/usr/bin:/bin readlink -f -- "$self")
folder=${self%/*}

# The interpreter that the installer wrote into the first line of our neighbour, else the one beside us. Never one
# from PATH: a project's settings could have planted it.
python=$folder/python3
{ read -r line <"$folder/broker"; } 2>/dev/null
case $line in '#!/'*python*) python=${line#??} python=${python%% *} ;; esac # some add flags there
[ -x "$python" ] || {
    echo "broker-helper: $python is no Python any more; reinstall claude-credential-broker" >&2
    exit 69
}

exec "$python" -I -S -c 'import sys
sys.path.insert(0, sys.argv[1])
import broker_helper
broker_helper.main(sys.argv[2], sys.argv[3:])' "${folder%/*}/libexec/claude-credential-broker" "$self" "$@"
