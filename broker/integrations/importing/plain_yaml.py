"""YAML of people's as texts, lists and tables: nothing is made of what it says, and nothing in it grows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from broker.errors import ConfigError

if TYPE_CHECKING:
    from yaml import Node

TEXT_MAX: Final = 256 * 1024
"""Characters; PyYAML reads some hundred thousand of these a second."""

_DEPTH_MAX: Final = 32


def load(text: str, path: Path) -> Any:  # noqa: ANN401  # texts, lists and tables
    """Read one document; every scalar is a text, as it is written. Raises `ConfigError`, which quotes nothing.

    Aliases are refused: a few of them inside each other can stand for billions of entries.
    """
    import yaml  # noqa: PLC0415  # only where YAML is read

    if len(text) > TEXT_MAX:
        raise ConfigError([f"{path}: larger than {TEXT_MAX >> 10} KiB, so it is hardly such a file"])
    try:
        _refuse_growth(text, path)
        loader = yaml.BaseLoader(text)  # knows texts, lists and tables alone: less than SafeLoader
        node = loader.get_single_node()
        _refuse_twins(node, path)
        return None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise ConfigError([f"{path}{where}: not valid YAML"]) from None
    except (yaml.YAMLError, ValueError):  # a character that YAML has not, a number of a character without end
        raise ConfigError([f"{path}: not valid YAML"]) from None


def _refuse_growth(text: str, path: Path) -> None:
    """Stop early where a little text would be much to read."""
    import yaml  # noqa: PLC0415  # see above

    depth = 0
    for event in yaml.parse(text, yaml.BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        where = f", line {event.start_mark.line + 1}" if event.start_mark is not None else ""
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError([f"{path}{where}: a YAML alias (*name), which is not read; write it out there"])
        if depth > _DEPTH_MAX:
            raise ConfigError([f"{path}{where}: nested too deep"])


def _refuse_twins(top: Node | None, path: Path) -> None:
    """A key that is there twice would silently be lost once."""
    import yaml  # noqa: PLC0415  # see above

    todo = [top] if top is not None else []
    for node in todo:
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value]
            seen = set()
            for key in keys:
                if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                    what = "is there twice" if isinstance(key, yaml.ScalarNode) else "is no text"
                    raise ConfigError([f"{path}, line {key.start_mark.line + 1}: this key {what}"])
                seen.add(key.value)
            todo += [value for _, value in node.value]
