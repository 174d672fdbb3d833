"""`broker login`, `broker logout`."""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

import click

from broker import paths
from broker.background import with_daemon
from broker.cli.arguments import examples
from broker.cli.output import printable, span, warn
from broker.cli.redirect import Redirect, listening
from broker.client import Begun, Client, SignInTo
from broker.sign_in import Invitation, Page, SignIn

_LINE_MAX: Final = 16 * 1024


@click.command(
    "login",
    epilog=examples("broker login", "broker login corp", "broker login sso --device", "broker login corp --no-browser"),
)
@click.argument("source", required=False)
@click.option("--device", is_flag=True, help="By a code that you confirm on any device.")
@click.option("--no-browser", is_flag=True, help="Only print the address; open it yourself.")
def login_command(source: str | None, *, device: bool, no_browser: bool) -> None:
    """Sign in to SOURCE of the config, in a browser.

    Without SOURCE it lists where you can. The daemon keeps what comes of it, encrypted, and renews it; without a place
    for a key (persist = "off") it lasts as long as the daemon. An AWS sign-in is shared with the AWS CLI, in its file.

    Without a browser here you get a code to confirm on any device, where the source has that. Where it has not, open
    the printed address elsewhere, and paste here the address at which the browser ends, though it shows an error there;
    or forward the port: ssh -L PORT:localhost:PORT MACHINE
    """
    client = Client(paths.socket_path())
    ways = {known.source: known for known in with_daemon(client, Client.sign_ins)}
    if source is None:
        _list(list(ways.values()))
        return
    # A source that is not among them: the daemon knows why.
    way = ways[source].way if source in ways else SignIn(Page())
    opens = not no_browser and _has_browser()
    if way.page is None or device or (way.device and not _has_browser()):
        kept = _by_device(client, source, opens=opens)
    else:
        kept = _by_browser(client, source, way.page, opens=opens)
    if not kept:
        warn("nothing can be stored (see: broker doctor), so this lasts until the daemon stops or is locked")
    click.echo(f"signed in to {source}")


@click.command("logout", epilog=examples("broker logout corp"))
@click.argument("source")
def logout_command(source: str) -> None:
    """Sign out of SOURCE of the config.

    The server forgets our token, and the daemon all that it got by it.
    """
    signed_out = with_daemon(Client(paths.socket_path()), lambda client: client.logout(source))
    click.echo(f"signed out of {source}" if signed_out else f"nobody was signed in to {source}")


def _list(known: list[SignInTo]) -> None:
    if not known:
        click.echo("no source of the config is one that a person signs in to", err=True)
    width = max((len(each.source) for each in known), default=0)
    for each in sorted(known, key=lambda each: each.source):
        either = ", also --device" if each.way.page is not None and each.way.device else ""
        click.echo(f"{each.source:{width}}  {each.type}{either}")


def _by_browser(client: Client, source: str, page: Page, *, opens: bool) -> bool:
    with listening(page) as redirect:
        begun = client.begin_login(source, redirect.uri)
        if begun.joined:
            return _join(client, source, begun)
        invitation = begun.invitation
        click.echo(f"Sign in at:\n\n  {printable(invitation.url)}\n", err=True)
        click.echo(f"Waiting for the browser to come back to localhost:{redirect.port} (Ctrl-C ends it).", err=True)
        if opens:
            _open(invitation.url)
        else:
            click.echo("A browser elsewhere ends at an address that it cannot open: paste that address here.", err=True)
            threading.Thread(target=_take_pasted, args=(redirect, invitation), daemon=True).start()
        code = redirect.code(invitation.state, invitation.expires_in_s, invitation.issuer)
        return client.finish_login(source, invitation.state, code)


def _by_device(client: Client, source: str, *, opens: bool) -> bool:
    begun = client.begin_login(source, None)
    if begun.joined:
        return _join(client, source, begun)
    invitation = begun.invitation
    _show_code(invitation)
    click.echo(f"Waiting for you to confirm it, for {span(invitation.expires_in_s)} (Ctrl-C ends it).", err=True)
    if opens:
        _open(invitation.complete_url or invitation.url)
    return client.wait_login(source, invitation.state, invitation.expires_in_s)


def _join(client: Client, source: str, begun: Begun) -> bool:
    """Wait for a sign-in that another process began: no second tab for it."""
    invitation = begun.invitation
    click.echo(f"A sign-in to {source} is under way already; waiting for it (Ctrl-C leaves it alone).", err=True)
    if invitation.user_code is not None:
        _show_code(invitation)
    return client.wait_login(source, invitation.state, invitation.expires_in_s)


def _show_code(invitation: Invitation) -> None:
    url = printable(invitation.complete_url or invitation.url)
    what = "check that it shows this code" if invitation.complete_url else "enter this code"
    click.echo(
        f"Sign in, on any device, at:\n\n  {url}\n\nand {what}:\n\n  {printable(invitation.user_code or '')}\n",
        err=True,
    )


def _take_pasted(redirect: Redirect, invitation: Invitation) -> None:
    """Read what a person pastes, until it is the answer; the end of stdin says that nobody will."""
    # By os.read: a thread that holds Python's own stdin would keep the interpreter from ending.
    waiting = b""
    while piece := _typed():
        *lines, waiting = (waiting + piece).split(b"\n")
        waiting = waiting[-_LINE_MAX:]
        for line in lines:
            text = line.decode("ascii", "replace").strip()
            if text and redirect.paste(text, invitation.state, invitation.issuer):
                return
            if text:
                click.echo("That is not the answer to this sign-in: paste the whole address.", err=True)


def _typed() -> bytes:
    """Read on; nothing at the end, where there is no stdin, and where the terminal is another job's: we would be stopped."""
    try:
        foreign = os.isatty(0) and os.tcgetpgrp(0) != os.getpgrp()
        return b"" if foreign else os.read(0, _LINE_MAX)
    except OSError:
        return b""


def _has_browser() -> bool:
    """Whether this machine has one that the person sees, and that does not take over the terminal."""
    if os.environ.get("BROWSER") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
        return True
    return sys.platform == "darwin" and not os.environ.get("SSH_CONNECTION")


def _open(url: str) -> None:
    """Open the person's browser."""
    import webbrowser  # noqa: PLC0415  # only where there is a browser

    # In a thread: a command that BROWSER names is waited for until it ends.
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
