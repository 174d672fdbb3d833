"""`broker config check`, `show`, `path`."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import click

from broker import paths
from broker.cli.arguments import examples

if TYPE_CHECKING:
    from broker.config import Config

_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


@click.group("config", epilog=examples("broker config check", "broker config show --json", "broker config path"))
def config_command() -> None:
    """Check and show the config file."""


@config_command.command("check", epilog=examples("broker config check"))
def check() -> None:
    """Say OK, or print every problem and exit with 78.

    The config is read as the daemon reads it.
    """
    config = _read()
    used = len(config.sources)
    click.echo(f"OK: {config.path}: {_count(len(config.credentials), 'credential')}, {_count(used, 'source')}")


@config_command.command("show", epilog=examples("broker config show", "broker config show --json"))
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(*, as_json: bool) -> None:
    """Print the config with every default filled in. References stay references: no secret is fetched."""
    tree = effective(_read())
    click.echo(json.dumps(tree, indent=2) if as_json else toml(tree))


@config_command.command("path", epilog=examples('"$EDITOR" "$(broker config path)"'))
def path() -> None:
    """Print where the config file is, or would be."""
    click.echo(paths.config_path())


def effective(config: Config) -> dict[str, Any]:
    """Write a config as the tables of its file, defaults filled in."""
    return _compact(
        {
            "default": config.default,
            "daemon": _settings(config.daemon),
            "sources": {
                name: {"type": source.type.name, **_settings(source.settings)}
                for name, source in config.sources.items()
            },
            "credentials": {
                name: {
                    "source": credential.source,
                    **_settings(credential.settings),
                    "audience": list(credential.audience) or None,
                    **{key: value for key, value in _settings(credential.timing).items() if key != "ttl_max"},
                }
                for name, credential in config.credentials.items()
            },
        }
    )


def toml(tree: dict[str, Any], prefix: str = "") -> str:
    """Write nested tables as TOML; tables within a list or below a named table stand inline."""
    plain = [f"{_key(key)} = {_value(value)}" for key, value in tree.items() if not isinstance(value, dict)]
    blocks = ["\n".join(plain)] if plain else []
    for key, table in tree.items():
        if not isinstance(table, dict):
            continue
        if all(isinstance(value, dict) for value in table.values()) and not prefix:
            blocks += [_block(f"{_key(key)}.{_key(name)}", inner) for name, inner in table.items()]
        else:
            blocks.append(_block(_key(key), table))
    return "\n\n".join(blocks)


def _block(name: str, table: dict[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items())])


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    # A JSON string, number or boolean is TOML's too, but for DEL.
    return json.dumps(value).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else json.dumps(key)


def _settings(settings: object) -> dict[str, Any]:
    """Write a settings dataclass as its table: durations as text, keys as in the file (`_s` is ours)."""
    assert is_dataclass(settings)  # noqa: S101  # the config reader makes nothing else
    hints = get_type_hints(type(settings), include_extras=True)
    table = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        is_duration = field.name.endswith("_s") or "duration" in str(hints[field.name])
        table[field.name.removesuffix("_s")] = _duration(value) if is_duration and value is not None else _plain(value)
    return table


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    if is_dataclass(value):
        return _settings(value)
    return value


def _compact(tree: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not set."""
    return {
        key: _compact(value) if isinstance(value, dict) else value for key, value in tree.items() if value is not None
    }


def _duration(seconds: float) -> str:
    ms = round(seconds * 1000)
    return next(f"{ms // size}{unit}" for unit, size in _UNITS if ms % size == 0)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _read() -> Config:
    from broker.config import read  # noqa: PLC0415  # `config path` needs no reader
    from broker.sources import TYPES  # noqa: PLC0415

    return read(paths.config_path(), TYPES)
