"""What is reported of an error that a library raises."""

import re

import pytest
import tensorflow as tf

from vaeflow.errors import of_the_machine


@tf.function
def number(text):
    return tf.strings.to_number(text)


def test_an_error_of_tensorflow_is_one_line_without_trace():
    """Where TensorFlow adds the trace to a message, and how, is not documented."""
    with pytest.raises(tf.errors.OpError) as raised:
        number(tf.constant("x"))
    assert len(str(raised.value.message).splitlines()) > 1
    reported = of_the_machine(raised.value)
    assert re.fullmatch(r"TensorFlow: [^\n]*convert string: x", reported)
    assert not re.search(r"File|Detected at|\[", reported)
