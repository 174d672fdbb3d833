"""What the command line does with the state folder, whether or not a daemon runs that owns it.

Through the daemon's socket where one does; else in this process, under the folder's lock, for the moment of one command.
"""
