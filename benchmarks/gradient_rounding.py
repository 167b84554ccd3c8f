"""How far apart are the gradients of one replica and of several with automatic microbatches? Prints a Markdown table.

    python benchmarks/gradient_rounding.py [--seeds 0 1] [KEY=VALUE]...

The article's network, before the first step. A batch of 99, 100 and 101 is differentiated whole and in two and three
parts, which are added in float32: what replicas do, in one process. A row is a tensor: the largest distance to the
gradient of the whole batch, over the batches and parts, relative to its norm. TensorFlow takes oneDNN's kernels or
Eigen's by the processor; TF_ENABLE_ONEDNN_OPTS=1 or 0 chooses.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.data.sets import Folders
from vaeflow.plugins.registry import Registry
from vaeflow.training.setup import prepare

if TYPE_CHECKING:
    from vaeflow.training.experiment import Experiment

BATCHES, PARTS = (99, 100, 101), (2, 3)


def gradients(experiment: Experiment, parts: int) -> list[np.ndarray]:
    """Return the gradients of step 0's summed loss, differentiated in some parts."""
    import tensorflow as tf

    from vaeflow.engine.microbatch import Microbatches

    whole = experiment.trainer.step.microbatches
    how = (whole.objective, whole.schedule, whole.loss_scale)
    cut = Microbatches(whole.model, whole.batches, *how, count=parts, xla=False)
    part = tf.function(lambda number: cut.part(tf.constant(0, tf.int64), number).gradients)
    found = [part(tf.constant(number, tf.int64)) for number in range(parts)]
    return [np.add.reduce([np.asarray(t) for t in same]) for same in zip(*found, strict=True)]


def distances(seed: int, settings: list[str]) -> tuple[list[str], np.ndarray]:
    """Return the tensors' names, and for each the largest relative distance of a sum of parts to the whole."""
    worst = []
    for size in BATCHES:
        own = [f"batch_size={size}", f"seed={seed}", "strategy=single", *settings]
        experiment = prepare(resolve(compose("mnist-2d", own), Registry.load()), Folders.default())
        alone = gradients(experiment, 1)
        for parts in PARTS:
            pairs = zip(gradients(experiment, parts), alone, strict=True)
            worst.append([np.linalg.norm(here - there) / np.linalg.norm(there) for here, there in pairs])
    weights = experiment.model.trainable_variables
    return [f"{w.path.rpartition('/')[2]} {tuple(w.shape)}" for w in weights], np.max(worst, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("settings", nargs="*")
    options = parser.parse_intermixed_args()
    names, columns = zip(*[distances(seed, options.settings) for seed in options.seeds], strict=True)
    print(f"| tensor | {' | '.join(f'seed {seed}' for seed in options.seeds)} |\n| --- {'| --- ' * len(columns)}|")
    for name, row in zip(names[0], np.transpose(columns), strict=True):
        print(f"| {name} | {' | '.join(f'{value:.1e}' for value in row)} |")


if __name__ == "__main__":
    main()
