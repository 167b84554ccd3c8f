"""JSON and TOML that is hard to read: huge, deep, of the wrong types, or not quite JSON or TOML."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

DEEP = 100_000
DIGITS = "9" * 5000

ODD_VALUES = (
    *("1e400", "-1e400", "NaN", "-1", "0", "1.5", "99", "true", "null", '""', '"text"', '"\\ud800"', '"\\u0000"', "[]"),
    *(
        "[[]]",
        "{}",
        '{"a": 1}',
        "[1]",
        "12345678901234567890123",
        DIGITS,
        "[" * 900 + "]" * 900,
        '"' + "x" * 100_000 + '"',
    ),
    *('"../../x"', '"/dev/zero"', "1e-400", None),  # None: the key is taken away
)
"""What a key of a JSON object may be given instead of its value, as text."""

JSON = {
    "100,000 brackets": b"[" * DEEP,
    "100,000 closed brackets": b"[" * DEEP + b"]" * DEEP,
    "50,000 objects in each other": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "5,000 digits": DIGITS.encode(),
    "a step of 5,000 digits": b'{"step": ' + DIGITS.encode() + b"}",
    "an infinite step": b'{"step": 1e400}',
    "a step that is no number": b'{"step": NaN}',
    "a step twice": b'{"step": 1, "step": 2}',
    "a negative step": b'{"step": -1}',
    "a step of text": b'{"step": "8", "epoch": "1"}',
    "a step of true": b'{"step": true, "epoch": null}',
    "an array": b"[]",
    "null": b"null",
    "a number": b"1",
    "text": b'"text"',
    "an empty object": b"{}",
    "bytes that are no UTF-8": b'{"a": "\xff\xfe"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"step": 1}'.encode("utf-16"),
    "zeros": bytes(1000),
    "a surrogate": b'{"step": 1, "a": "\\ud800"}',
    "a line of 20 MB": b'{"a": "' + b"x" * 20_000_000 + b'"}',
    "300,000 lines": b'{"step": 1}\n' * 300_000,
    "1,000,000 keys": b"{" + b", ".join(b'"%d": 0' % number for number in range(1_000_000)) + b"}",
}
"""Files' contents by what they are."""

TOML = {
    "1,000 tables in each other": b"[" + b".".join([b"a"] * 1000) + b"]\nb = 1\n",
    "an inline table 1,000 deep": b"a = " + b"{a = " * 1000 + b"1" + b"}" * 1000,
    "5,000 arrays in each other": b"a = " + b"[" * 5000 + b"]" * 5000,
    "100,000 brackets": b"a = " + b"[" * DEEP,
    "100,000 dots": b"a" + b".a" * DEEP + b" = 1",
    "5,000 digits": b"seed = " + DIGITS.encode(),
    "5,000 digits of a float": b"learning_rate = 1." + DIGITS.encode(),
    "an infinite number": b"seed = inf",
    "a number that is none": b"epochs = nan",
    "a key twice": b"seed = 0\nseed = 0\n",
    "a date": b"seed = 1979-05-27T07:32:00Z",
    "nothing known": b"[unknown]\nkey = 1\n",
    "a recipe": b'recipe = "mnist-2d"\n',
    "bytes that are no UTF-8": b'name = "\xff\xfe"',
    "a byte order mark": b"\xef\xbb\xbfseed = 0\n",
    "zeros": bytes(1000),
    "not TOML": b"{}",
    "a text of 20 MB": b'name = "' + b"x" * 20_000_000 + b'"',
    "200,000 keys": b"".join(b"k%d = 0\n" % number for number in range(200_000)),
}
"""Files' contents by what they are."""


def odd_json(drawn: Random) -> tuple[str, bytes]:
    """Return what a JSON file holds, in words and in bytes."""
    return drawn.choice(list(JSON.items()))


def odd_toml(drawn: Random) -> tuple[str, bytes]:
    """Return what a TOML file holds, in words and in bytes."""
    return drawn.choice(list(TOML.items()))
