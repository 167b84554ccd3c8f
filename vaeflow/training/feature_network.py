"""Load the feature network that a user names on the command line or in Python; no config of a run can name one.

A `.keras` file may come from anyone. It is loaded in Keras's safe mode, which refuses code in it. A module is imported
because the user names it, as with `--plugin`.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from vaeflow.contracts import Features
from vaeflow.errors import UsageError

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def require_network(text: str) -> None:
    """Check, without importing or loading anything, that a text is `module:function` or names a .keras file.

    Raises:
        UsageError: if not.
    """
    if _is_function(text):
        return
    if Path(text).suffix != ".keras":
        raise UsageError(f"--features {text}: give the path of a .keras file or an importable module:function")
    if not Path(text).is_file():
        raise UsageError(f"--features {text}: there is no such file")


def load_network(text: str) -> Features:
    """Return the features of a `module:function` or a .keras file.

    Raises:
        UsageError: if it can't be imported or loaded, or the file has code, such as a Lambda layer.
    """
    require_network(text)
    return _function(text) if _is_function(text) else _keras_file(Path(text))


def _is_function(text: str) -> bool:
    return FUNCTION.fullmatch(text) is not None and not Path(text).exists()


def _function(text: str) -> Features:
    module, _, name = text.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise UsageError(f"--features {text} can't be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UsageError(f"--features {text} is no function, but {type(found).__name__}")
    return Features(f"the function {text}", found)


def _keras_file(path: Path) -> Features:
    import keras

    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"--features {path} can't be loaded: {type(error).__name__}: {reason}") from error
    return Features(f"the network {path.name}", lambda x: network(x, training=False))
