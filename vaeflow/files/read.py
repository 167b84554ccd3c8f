"""Read small files: only regular files, limited in size and depth; an error is one line."""

from __future__ import annotations

import json
import math
import os
import re
import stat
import tomllib
from typing import TYPE_CHECKING, Any

from vaeflow.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import BufferedReader
    from pathlib import Path

SMALL = 1 << 20
"""Bytes of the largest config, manifest or summary."""

LARGE = 16 << 20
"""Bytes of the largest file with data of plugins, such as the state of callbacks."""

DEEPEST = 64
"""Largest nesting depth of tables and lists, in JSON and TOML."""

REGULAR = "a regular file"
DIRECTORY = "a directory"

_KINDS = (
    (stat.S_ISREG, REGULAR),
    (stat.S_ISDIR, DIRECTORY),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)
_INT64 = range(-(2**63), 2**63)
# The parser's time is quadratic in a dotted key's depth. Each part is bounded, so that the search is linear.
_PART = r"""(?:[A-Za-z0-9_-]{1,99}|"(?:[^"\\\n]|\\.){0,99}"|'[^'\n]{0,99}')[ \t]{0,9}"""
_DEEP_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_PART}\.[ \t]{{0,9}}){{{DEEPEST}}}")


def kind_of(path: Path, *, follow: bool = False) -> str | None:
    """Return the type of a file, such as `a regular file` or `a symbolic link`; None if there is none.

    Args:
        path: its path.
        follow: return the type of a link's target.

    Raises:
        OSError: if the type can't be read.
    """
    try:
        return _in_words(path.stat(follow_symlinks=follow).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def open_regular(path: Path, *, follow: bool = False) -> BufferedReader:
    """Open a regular file for reading; nothing else is opened, since a FIFO would block.

    Args:
        path: the file.
        follow: whether its name may be a link.

    Raises:
        FileError: if it is something else.
        OSError: if it is missing or reading fails.
    """
    _require_regular(path, path.stat(follow_symlinks=follow).st_mode)  # opening a device may have effects
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, *, limit: int = SMALL, follow: bool = False) -> bytes:
    """Return a file's content.

    Args:
        path: the file.
        limit: largest size in bytes.
        follow: whether its name may be a link.

    Raises:
        FileError: if it can't be read, is not a regular file, or is larger.
    """
    try:
        with open_regular(path, follow=follow) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(limit + 1) if size <= limit else b""
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    if size > limit or len(content) > limit:
        raise FileError(f"{path}: it has {max(size, len(content))} bytes; at most {limit} are allowed")
    return content


def read_text(path: Path, *, limit: int = SMALL, follow: bool = False) -> str:
    """Return a text file's content, see `read_bytes`.

    Raises:
        FileError: if it can't be read, or is not UTF-8.
    """
    try:
        return read_bytes(path, limit=limit, follow=follow).decode()
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not a text file in UTF-8 (byte {error.start})") from error


def read_json(path: Path, *, limit: int = SMALL) -> dict[str, Any]:
    """Return the object in a JSON file, see `read_bytes`. A link is refused.

    Raises:
        FileError: if it can't be read, or is not a valid JSON object.
    """
    value = parse_json(read_text(path, limit=limit), str(path))
    if not isinstance(value, dict):
        raise FileError(f"{path}: not a JSON object")
    return value


def read_toml(path: Path, *, follow: bool = False) -> dict[str, Any]:
    """Return a TOML file's tree, see `read_bytes`.

    Raises:
        FileError: if it can't be read or isn't TOML.
    """
    return parse_toml(read_text(path, follow=follow), str(path))


def parse_json(text: str, place: str, *, finite: bool = True) -> Any:
    """Parse a JSON text.

    Args:
        text: the text.
        place: its origin; errors start with it.
        finite: refuse NaN and infinities.

    Raises:
        FileError: if it isn't JSON, or is nested too deep.

    >>> parse_json('{"step": 1e400}', "metrics.jsonl")
    Traceback (most recent call last):
    ...
    vaeflow.errors.FileError: metrics.jsonl: a number is not finite
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise FileError(f"{place}: nested deeper than {DEEPEST}") from None
    except json.JSONDecodeError as error:
        raise FileError(f"{place}: not valid JSON: {error}", syntax=True) from None
    except ValueError:  # Python does not convert longer ones
        raise FileError(f"{place}: an integer has too many digits") from None
    for inner in _values(value, place):
        if finite and isinstance(inner, float) and not math.isfinite(inner):
            raise FileError(f"{place}: a number is not finite")
        if isinstance(inner, str) and not inner.isascii():
            _require_printable(inner, place)
    return value


def parse_toml(text: str, place: str) -> dict[str, Any]:
    """Parse a TOML text.

    Args:
        text: the file's content.
        place: the file; errors start with it.

    Raises:
        FileError: if it isn't TOML, is nested too deep, or an integer has more than 64 bits.

    >>> parse_toml("a." * 100 + "a = 1", "x.toml")
    Traceback (most recent call last):
    ...
    vaeflow.errors.FileError: x.toml: nested deeper than 64
    """
    if _DEEP_KEY.search(text):
        raise FileError(f"{place}: nested deeper than {DEEPEST}")
    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise FileError(f"{place}: nested deeper than {DEEPEST}") from None
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{place}: not valid TOML: {error}", syntax=True) from None
    except ValueError:  # Python does not convert longer ones
        raise FileError(f"{place}: an integer has more than 64 bits") from None
    for inner in _values(tree, place):
        if isinstance(inner, int) and inner not in _INT64:
            raise FileError(f"{place}: an integer has more than 64 bits")
    return tree


def _values(value: Any, place: str) -> Iterable[Any]:
    """Yield a value and all values in it; deep nesting is refused before any recursive function gets it."""
    level, depth = [value], 0
    while level:
        if depth >= DEEPEST and any(isinstance(one, (dict, list)) for one in level):
            raise FileError(f"{place}: nested deeper than {DEEPEST}")
        yield from level
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += [*one, *one.values()]
            elif isinstance(one, list):
                inner += one
        level, depth = inner, depth + 1


def _require_printable(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FileError(f"{place}: a text has half a character (a lone surrogate)") from None


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise FileError(f"{path}: it is {_in_words(mode)}, not {REGULAR}")


def _in_words(mode: int) -> str:
    return next((words for is_kind, words in _KINDS if is_kind(mode)), "a device")
