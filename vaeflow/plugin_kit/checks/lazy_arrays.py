"""Rules for arrays of a data set that are computed or read when they are indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaeflow.plugin_kit.checks.require import require

if TYPE_CHECKING:
    from vaeflow.contracts import LazyArray


def require_lazy_array(x: LazyArray, name: str) -> None:
    """Require reading by integers, slices and indices to agree with each other and with what an array declares.

    Args:
        x: [N, *X], N at least 1.
        name: its name, for the message.
    """
    last = len(x) - 1
    index = np.array([last, 0, last // 2, 0, last])
    wanted = np.stack([x[int(i)] for i in index])
    for what, got, rows in (
        ("[indices]", x[index], wanted),
        ("[:1]", x[:1], wanted[1:2]),
        ("[-1:]", x[-1:], wanted[:1]),
    ):
        require(isinstance(got, np.ndarray), f"{name}{what} is {type(got).__name__}, not a NumPy array")
        require(np.array_equal(got, rows), f"{name}{what} differs from the same examples read one by one")
    require(wanted.dtype == x.dtype, f"{name} declares {x.dtype}, but its examples are {wanted.dtype}")
    require(wanted.shape[1:] == x.shape[1:], f"{name} declares {x.shape}, but its examples are {wanted.shape[1:]}")
    size = x.dtype.itemsize * int(np.prod(x.shape))
    require(x.shape[0] == len(x), f"{name} declares {x.shape}, but has {len(x)} examples")
    require(x.nbytes == size, f"{name} declares {x.nbytes} bytes, but its shape and type make {size}")
