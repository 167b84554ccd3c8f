"""What processes of a job do in tests that ask more than the command tells. Started by `jobs.job`.

python inside_a_job.py gradients OUT SETTINGS...   # saves the first step's gradients, by network and batch size
python inside_a_job.py epoch OUT SETTINGS...       # saves what each microbatch of an epoch was handed
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.data.sets import Folders
from vaeflow.plugins.registry import Registry
from vaeflow.training.experiment import build
from vaeflow.training.setup import prepare

if TYPE_CHECKING:
    from vaeflow.training.experiment import Experiment


NETWORKS = ("conv-mnist", "mlp")
BATCHES = (98, 99, 100, 101)  # every remainder over two, three and four replicas


def gradients(out: Path, *settings: str) -> None:
    """Save the gradients of step 0 after reduction, for both networks and each size of the global batch."""
    import tensorflow as tf

    dataset = strategy = None
    for network in NETWORKS:
        for size in BATCHES:
            more = (f"encoder={network}", f"decoder={network}", f"batch_size={size}")
            resolved = resolve(compose("mnist-2d", [*settings, *more]), Registry.load())
            experiment = build(resolved, dataset, strategy) if strategy else prepare(resolved, Folders.default())
            dataset, strategy = experiment.dataset, experiment.strategy
            found = _gradients(experiment, tf.constant(0, tf.int64))
            if strategy.rank == 0:
                np.savez(out / f"{network}-{size}.npz", *found)
    strategy.close()


def _gradients(experiment: Experiment, step: Any) -> list[np.ndarray]:
    import tensorflow as tf

    strategy, train = experiment.strategy, experiment.trainer.step

    @tf.function
    def differentiate() -> list[tf.Tensor]:
        update = strategy.run(train._differentiate, step)
        return [strategy.local(g) for g in update.gradients]

    return [g.numpy() for g in differentiate()]


def epoch(out: Path, *settings: str) -> None:
    """Save pixels, validity and noise of every microbatch that this process differentiates in an epoch."""
    import tensorflow as tf

    experiment = prepare(resolve(compose("mnist-2d", settings), Registry.load()), Folders.default())
    microbatches, seen = experiment.trainer.step.microbatches, []
    differentiate = microbatches.differentiate

    def recording(batch: Any, noise: Any, step: Any, number: Any) -> Any:
        tf.numpy_function(lambda *arrays: seen.append(arrays), [batch.x, batch.valid, noise, step], [])
        return differentiate(batch, noise, step, number)

    microbatches.differentiate = recording
    experiment.trainer.execute(0, experiment.timeline.steps_per_epoch).numpy()
    x, valid, noise, steps = zip(*seen, strict=True)
    np.savez(
        out / f"epoch-{experiment.strategy.rank}.npz",
        x=np.concatenate(x),
        valid=np.concatenate(valid),
        noise=np.concatenate(noise, axis=1),
        steps=np.array(steps),
    )
    experiment.strategy.close()


if __name__ == "__main__":
    {"gradients": gradients, "epoch": epoch}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
