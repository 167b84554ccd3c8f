"""The precision of networks that are built in a context."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def built_in(precision: str) -> Iterator[None]:
    """Set the dtype policy of layers that are created in this context; restore the previous one afterwards.

    Args:
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
