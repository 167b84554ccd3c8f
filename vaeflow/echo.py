"""Quote user input in error messages: short, on one line, without control characters."""

from __future__ import annotations

import reprlib
import unicodedata

LONGEST_VALUE = 60
"""Longest value in a message, in characters."""

LONGEST_LINE = 2000
"""Longest message, in characters."""

_CUT = " [...] "


class _Short(reprlib.Repr):
    """Formats only the first part of a value, since a very long value would take seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxlong = self.maxother = 4 * LONGEST_VALUE
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = LONGEST_VALUE // 2

    def repr_str(self, x: str, level: int) -> str:  # noqa: ARG002 reprlib's signature.
        return repr(x[: self.maxstring])

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002 reprlib's signature.
        # Python raises an error when it formats a number of more than 4300 digits.
        return repr(x) if x.bit_length() < 1000 else f"{'-' if x < 0 else ''}{x.bit_length() * 3 // 10}-digit number"


def shown(value: object) -> str:
    r"""Return the repr of a value for a message, truncated if it is long.

    >>> shown("adm"), shown([1, 2]), shown("\x1b[2J")
    ("'adm'", '[1, 2]', "'\\x1b[2J'")
    >>> shown("x" * 10**6)[-6:]
    'xxx...'
    """
    text = _Short().repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    r"""Return a text on one line, without control characters; the middle of a long text is removed.

    Args:
        text: the text of an error.
        longest: most characters of the result.

    >>> one_line("out of\n  memory \x1b[31m")
    'out of memory [31m'
    >>> len(one_line("x" * 10**6))
    2000
    """
    if len(text) > 8 * longest:  # removing white space may shorten it
        text = text[: 4 * longest] + _CUT + text[-4 * longest :]
    line = " ".join(text.split())
    if not line.isprintable():
        line = " ".join("".join(c for c in line if not unicodedata.category(c).startswith("C")).split())
    if len(line) <= longest:
        return line
    end = longest // 4
    return f"{line[: longest - end - len(_CUT)]}{_CUT}{line[-end:]}"
