"""A reader of Prometheus' YAML files; its errors quote nothing of the file.

In: a path. Out: a mapping, or `Unreadable` with the place. Values may be secrets, and a
YAML error's own text would show them.
"""

from pathlib import Path
from typing import Any

import yaml


class Unreadable(Exception):
    """The file cannot be read; the message has place and reason, and quotes nothing."""


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a file that holds a mapping. Raises: Unreadable."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path}: not UTF-8") from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, source: str) -> dict[str, Any]:
    """Parse a text that holds a mapping; `source` is its origin, for messages. Raises: Unreadable."""
    try:
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe one
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise Unreadable(f"{source}{where}: not YAML") from None
    except Exception:  # noqa: BLE001 - a constructor may raise anything: `!!int ''` an IndexError
        raise Unreadable(f"{source}: not YAML") from None
    if not isinstance(document, dict):
        raise Unreadable(f"{source}: holds no configuration")
    return document


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
