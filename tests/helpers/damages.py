"""What can happen to a run's directory, drawn at random.

A kind is a function that does one damage and says what it did. It follows from the number of the damage and from the
names in the directory, so that it can be done again to a copy. Where a kind finds nothing to damage it returns None,
and another one is drawn.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from helpers.damage_content import (
    append,
    cut,
    edited_config,
    flip,
    signed_again,
    strange_content,
    strange_manifest,
    strange_value,
)
from helpers.damage_names import (
    forbidden,
    link,
    moved_outside,
    only_some_left,
    other_kind,
    remove,
    remove_folder,
    rename,
    stray,
    swap,
    swap_folder,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.damage_scene import Scene

    Kind = Callable[[Random, Scene], str | None]

KINDS: tuple[Kind, ...] = (
    *(link, other_kind, signed_again, strange_content, strange_manifest, only_some_left, swap_folder, moved_outside),
    *(rename, stray, cut, edited_config, swap, strange_value, flip, append, remove, remove_folder, forbidden),
)
OFTEN = (*KINDS, link, signed_again, strange_content)


def do_damage(number: int, scene: Scene) -> str:
    """Do the damage of a number, and return in words what was done.

    The first numbers are those of one kind each, in their order. The others are of one kind or of two at once.
    """
    drawn, done = Random(number), []
    kinds, wanted = ((KINDS[number],), 1) if number < len(KINDS) else (OFTEN, drawn.choice([1, 1, 1, 2]))
    while len(done) < wanted:
        said = drawn.choice(kinds)(drawn, scene)
        if said is not None:
            done.append(said)
        else:
            kinds = OFTEN
    return "; ".join(done)
