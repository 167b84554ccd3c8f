"""TensorFlow starts without a message of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

START = """
from vaeflow.runtime.tensorflow_setup import start_tensorflow
start_tensorflow()
import tensorflow as tf
print(int(tf.function(lambda x: x + 1)(tf.constant(1))))
"""


@pytest.mark.slow
def test_tensorflow_starts_without_a_message():
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "VAEFLOW_"))}
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True, env=environ)
    assert (done.stdout, done.stderr) == ("2\n", "")
