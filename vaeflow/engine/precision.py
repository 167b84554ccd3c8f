"""What networks compute in while they are built."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def built_in(precision: str) -> Iterator[None]:
    """Give layers that are made in this context a dtype policy; the one before comes back afterwards.

    Args:
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
