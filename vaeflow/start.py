"""From a resolved config to an experiment that is ready to take steps, together with the job's other processes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from vaeflow.engine.strategies.single import SingleStrategy
from vaeflow.errors import UsageError
from vaeflow.job import Job

if TYPE_CHECKING:
    from vaeflow.config import Config
    from vaeflow.config_resolve import Resolved
    from vaeflow.contracts import Dataset
    from vaeflow.data import Folders
    from vaeflow.engine.strategies.base import Topology
    from vaeflow.experiment import Experiment


def say(line: str) -> None:
    """Print one line for people, above a progress bar if there is one; on the chief alone."""
    from tqdm import tqdm

    if Job.current().rank == 0:
        with contextlib.suppress(OSError):  # nobody reads any more: a closed terminal does not end a run
            tqdm.write(line)


def prepare(resolved: Resolved, folders: Folders, *, to_train: bool = True) -> Experiment:
    """Load the data, start TensorFlow, join the other processes and build an experiment.

    Args:
        resolved: the config and its components.
        folders: where data sets lie.
        to_train: run under the config's strategy, and fix threads and graph rewrites, on which the bits depend; else
            one device is enough, whatever trained the run.

    Raises:
        VaeflowError: if the data can't be had, or components don't fit them or each other.
    """
    from vaeflow.runtime import Runtime, start_tensorflow
    from vaeflow.threads import threads_of

    topology: Topology = resolved.strategy.build() if to_train else SingleStrategy()
    _require_microbatches(resolved.config, topology.replicas or Job.current().processes)  # at least one a process
    dataset = resolved.dataset.build(folders)  # before TensorFlow's seconds: what is wrong is mostly wrong here
    start_tensorflow(Runtime(threads=threads_of(resolved.config, topology.local_processes)) if to_train else None)
    experiment = _join(resolved, dataset, topology)
    if to_train:
        experiment.require_memory()
    return experiment


def rejoin(resolved: Resolved, dataset: Dataset) -> Experiment:
    """Join the processes that are there now, and build the experiment anew: its graphs know how many replicas share it.

    Args:
        resolved: the config and its components.
        dataset: as it was loaded.

    Raises:
        VaeflowError: if the others can't be reached.
    """
    import keras

    # Horovod finds its tensors by name. Keras numbers layers by process, and a process that comes begins at one.
    keras.utils.clear_session(free_memory=False)
    return _join(resolved, dataset, resolved.strategy.build())


def _join(resolved: Resolved, dataset: Dataset, topology: Topology) -> Experiment:
    strategy = topology.start()
    _require_microbatches(resolved.config, strategy.replicas)
    if strategy.replicas > 1:
        from vaeflow.engine.proof import prove_reductions

        compression = resolved.config.compression
        prove_reductions(strategy, "float32" if compression == "none" else compression)
        where = f"{strategy.replicas} replicas in {strategy.processes} process{'es' if strategy.processes > 1 else ''}"
        say(f"strategy {strategy.name}: {where}; a test of its sums came out right")
    from vaeflow.experiment import build

    return build(resolved, dataset, strategy)


def _require_microbatches(config: Config, replicas: int) -> None:
    if config.microbatches != "auto" and replicas > config.microbatches:
        raise UsageError(
            f"{replicas} replicas are more than microbatches = {config.microbatches}: some would have nothing to do; "
            f"use at most {config.microbatches} replicas (another number of microbatches is another run)"
        )
