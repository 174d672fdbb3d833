"""`broker login`, `broker logout`."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from broker import paths
from broker.background import with_daemon
from broker.cli.arguments import examples
from broker.cli.output import printable, warn
from broker.cli.redirect import listening
from broker.client import Client

WITHIN_S: Final = 300.0
"""How long a person may take: Vault forgets a sign-in after five minutes."""


@click.command("login", epilog=examples("broker login corp", "broker login corp --no-browser"))
@click.argument("source")
@click.option("--no-browser", is_flag=True, help="Only print the address; open it yourself.")
def login_command(source: str, *, no_browser: bool) -> None:
    """Sign in to SOURCE of the config, in a browser.

    For sources that a person signs in to: type = "vault" with auth = { method = "oidc" }. The daemon keeps what comes
    of it, encrypted, and renews it; without a place for a key (persist = "off") it lasts as long as the daemon.

    On a machine without a browser, open the printed address elsewhere after: ssh -L 8250:localhost:8250 MACHINE
    """
    client = Client(paths.socket_path())
    with listening() as redirect:
        url, state = with_daemon(client, lambda client: client.begin_login(source, redirect.uri))
        click.echo(f"Sign in at:\n\n  {printable(url)}\n", err=True)
        click.echo(f"Waiting for the browser to come back to localhost:{redirect.port} (Ctrl-C ends it).", err=True)
        if not no_browser:
            _open(url)
        code = redirect.code(state, WITHIN_S)
        kept = client.finish_login(source, state, code)
    if not kept:
        warn("nothing can be stored (see: broker status), so this lasts until the daemon stops or is locked")
    click.echo(f"signed in to {source}")


@click.command("logout", epilog=examples("broker logout corp"))
@click.argument("source")
def logout_command(source: str) -> None:
    """Sign out of SOURCE of the config.

    The server forgets our token, and the daemon all that it got by it.
    """
    signed_out = with_daemon(Client(paths.socket_path()), lambda client: client.logout(source))
    click.echo(f"signed out of {source}" if signed_out else f"nobody was signed in to {source}")


def _open(url: str) -> None:
    """Open the person's browser; never one that takes over the terminal."""
    graphical = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if graphical or os.environ.get("BROWSER"):
        import threading  # noqa: PLC0415  # only where there is a browser
        import webbrowser  # noqa: PLC0415  # see above

        # In a thread: a command that BROWSER names is waited for until it ends.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
