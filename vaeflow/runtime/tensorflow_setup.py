"""Start TensorFlow for a reproducible run, without its start-up messages."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.distributed.job.cores import cores
from vaeflow.errors import UsageError, VaeflowError
from vaeflow.runtime.console import warn
from vaeflow.runtime.ordered_sums import add_in_order

if TYPE_CHECKING:
    from collections.abc import Iterator

KERAS_DEFAULTS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
"""Keras's global defaults, on which the bits of layers and optimizers depend; no key of a config has them."""


@dataclass(frozen=True)
class Runtime:
    """Settings of TensorFlow.

    Attributes:
        threads: intra-op threads per replica; 0 is TensorFlow's default, all cores. Kernels split their sums
            by it, so another number gives other bits.
    """

    threads: int = 0


def set_environment() -> None:
    """Set environment variables that TensorFlow and Keras read when vaeflow or a plugin imports them."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def start_tensorflow(runtime: Runtime | None = None) -> None:
    """Import TensorFlow without messages, fix Keras's defaults, the order of sums and, given a runtime, the threads.

    Args:
        runtime: the threads, which can be set only before the first operation of a process.

    Raises:
        UsageError: if TensorFlow has run already in this process with other settings.
        VaeflowError: if TensorFlow can't be imported.
    """
    set_environment()
    with _quiet_stderr():
        try:
            import tensorflow as tf
        except ImportError as error:  # usually too little memory to map it
            raise VaeflowError(f"TensorFlow can't be imported: {error}") from error

        tf.config.list_physical_devices()
    tf.get_logger().setLevel("ERROR")
    _set_keras_defaults()
    add_in_order()
    if runtime is not None:
        _configure(runtime)


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hide C++ messages at start-up; VAEFLOW_TENSORFLOW_LOG=1 shows them."""
    if os.environ.get("VAEFLOW_TENSORFLOW_LOG"):
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def _set_keras_defaults() -> None:
    """Set what `keras.json` in a home directory or a notebook may have changed: the bits would depend on it."""
    import keras

    for name, value in KERAS_DEFAULTS.items():
        there = getattr(keras.config, name)()
        if there != value:
            getattr(keras.config, f"set_{name}")(value)
            warn(f"warning: Keras's {name} is {there!r} here (by keras.json or a call), but vaeflow uses {value!r}")


def _set_threads(wanted: int) -> None:
    from tensorflow.config import threading

    if threading.get_intra_op_parallelism_threads() == wanted:
        return
    try:
        threading.set_intra_op_parallelism_threads(wanted)
    except RuntimeError:
        has = threading.get_intra_op_parallelism_threads() or cores()  # 0: TensorFlow uses all
        if wanted not in (0, has):
            raise UsageError(
                f"threads = {wanted} can't be set any more: TensorFlow has run in this process with {has}; "
                "start a new process (in a notebook, restart the kernel)"
            ) from None


def _configure(runtime: Runtime) -> None:
    from tensorflow import config

    _set_threads(runtime.threads)
    gpus = config.list_physical_devices("GPU")
    for gpu in gpus:
        if config.get_logical_device_configuration(gpu):
            continue  # it was split, each part with its memory
        config.experimental.set_memory_growth(gpu, True)
    if gpus:  # Not verified on a GPU: cuDNN's fastest kernels add in any order.
        config.experimental.enable_op_determinism()
