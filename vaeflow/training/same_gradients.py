"""Check before the first step that all processes compute the same gradient: code may depend on the process it runs in.

Config, code, data and environment have been compared before. A component that reads its rank, the time or a random
number without a seed passes that comparison, and would train to bits that belong to no config.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.distributed.job.waiting import ranks_in_words
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.engine.microbatch import Microbatches


def require_same_gradients(microbatches: Microbatches, step: int, processes: Processes) -> None:
    """Compare the sums of a step's first microbatch, which each process computes from the same weights and noise.

    They are computed without a graph, which takes less time than to trace one. All processes call this at the same
    step. It is for a number of microbatches: with automatic ones the bits of a sum are not promised.

    Args:
        microbatches: of the run.
        step: the next one.
        processes: of the job; a single one has nothing to compare.

    Raises:
        UsageError: on all processes, if they differ.
    """
    if processes.count == 1:
        return
    own, failed = "", None
    try:
        own = _digest(microbatches, step)
    except Exception as error:  # noqa: BLE001  # after the exchange, for which the others wait
        failed = error
    found = processes.gather(own)
    if failed is not None:
        raise failed
    others = [rank for rank, digest in enumerate(found) if digest != found[0]]
    if others:
        raise UsageError(
            "the ranks of this job compute different gradients from the same weights, examples and noise: "
            f"{ranks_in_words(others)} and rank 0 differ in the first microbatch of step {step}. Something that they "
            "run depends on the process, such as its rank, the time or a random number without a seed"
        )


def _digest(microbatches: Microbatches, step: int) -> str:
    part = microbatches.part(tf.constant(step, tf.int64), tf.constant(0, tf.int64))
    digest = hashlib.sha256()
    for tensor in tf.nest.flatten(part):
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
