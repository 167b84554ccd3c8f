"""From a resolved config to an experiment that is ready to take steps, together with the job's other processes."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from vaeflow.engine.strategies.single import SingleStrategy
from vaeflow.errors import UsageError
from vaeflow.job import Job

if TYPE_CHECKING:
    from vaeflow.agreement import FirstMeeting
    from vaeflow.config import Config
    from vaeflow.config_resolve import Resolved
    from vaeflow.contracts import Dataset
    from vaeflow.data import Folders
    from vaeflow.engine.strategies.base import Strategy, Topology
    from vaeflow.experiment import Experiment
    from vaeflow.provenance.record import Provenance


def say(line: str) -> None:
    """Print one line for people, above a progress bar if there is one; on the chief alone."""
    from tqdm import tqdm

    if Job.current().rank == 0:
        with contextlib.suppress(OSError):  # nobody reads any more: a closed terminal does not end a run
            tqdm.write(line)


def warn(line: str) -> None:
    """Print one line on standard error: the standard output of `evaluate` and the like is for programs."""
    from tqdm import tqdm

    with contextlib.suppress(OSError):
        tqdm.write(line, file=sys.stderr)


def prepare(resolved: Resolved, folders: Folders) -> Experiment:
    """Load the data, start TensorFlow, join the other processes and build an experiment, to train.

    Args:
        resolved: the config and its components.
        folders: where data sets lie.

    Raises:
        VaeflowError: if the data can't be had, or components don't fit them or each other.
    """
    topology: Topology = resolved.strategy.build()
    dataset, record = load(resolved, folders, topology)
    return start(resolved, dataset, topology, record)[0]


def prepare_to_read(resolved: Resolved, folders: Folders) -> tuple[Experiment, Provenance]:
    """Load the data and build an experiment on one device, whatever trained the run; threads are TensorFlow's choice.

    Args:
        resolved: the config and its components.
        folders: where data sets lie.

    Returns:
        The experiment, and the record of what its figures depend on.

    Raises:
        VaeflowError: if the data can't be had, or components don't fit them or each other.
    """
    from vaeflow.runtime import start_tensorflow

    topology = SingleStrategy()
    dataset, record = load(resolved, folders, topology)
    start_tensorflow()
    from vaeflow.experiment import build

    return build(resolved, dataset, topology), record


def load(
    resolved: Resolved, folders: Folders, topology: Topology, meeting: FirstMeeting | None = None
) -> tuple[Dataset, Provenance]:
    """Load the data and agree with the other ranks on what the run depends on, before TensorFlow's seconds.

    Args:
        resolved: the config and its components.
        folders: where data sets lie.
        topology: of the job.
        meeting: of its processes; None where they meet after they have joined.

    Returns:
        The data set, and the record of what the bits depend on.

    Raises:
        VaeflowError: if the data can't be had.
        UsageError: if ranks differ.
    """
    from vaeflow.provenance.record import Provenance
    from vaeflow.threads import threads_of

    record = Provenance.of(resolved).with_environment(threads_of(resolved.config, topology.local_processes))
    _require_microbatches(resolved.config, topology.replicas or Job.current().processes)  # at least one a process
    dataset = resolved.dataset.build(folders)
    record = record.with_data(dataset)
    _say_accepted(meeting.agree(record) if meeting is not None else "")
    return dataset, record


def start(
    resolved: Resolved,
    dataset: Dataset,
    topology: Topology,
    record: Provenance,
    *,
    accept_changes: bool = False,
) -> tuple[Experiment, Provenance]:
    """Start TensorFlow, join the other processes and build an experiment.

    Args:
        resolved: the config and its components.
        dataset: as loaded.
        topology: of the job.
        record: what the bits depend on, threads among them.
        accept_changes: whether ranks may differ in their environments.

    Returns:
        The experiment, and the record with the devices.

    Raises:
        VaeflowError: if the others can't be reached, or components don't fit the data or each other.
    """
    from vaeflow.runtime import Runtime, start_tensorflow

    start_tensorflow(Runtime(threads=record.environment["intra_op_threads"]))
    experiment, record = _join(resolved, dataset, topology, record, accept_changes=accept_changes)
    experiment.require_memory()
    from vaeflow.doubts import doubts

    for line in doubts(resolved, experiment):
        say(f"warning: {line}")
    return experiment, record


def rejoin(
    resolved: Resolved, dataset: Dataset, record: Provenance, *, accept_changes: bool
) -> tuple[Experiment, Provenance]:
    """Join the processes that are there now, and build the experiment anew: its graphs know how many replicas share it.

    Args:
        resolved: the config and its components.
        dataset: as it was loaded.
        record: what the bits depend on.
        accept_changes: whether ranks may differ in their environments.

    Raises:
        VaeflowError: if the others can't be reached.
    """
    import keras

    # Horovod finds its tensors by name. Keras numbers layers by process, and a process that comes begins at one.
    keras.utils.clear_session(free_memory=False)
    return _join(resolved, dataset, resolved.strategy.build(), record, accept_changes=accept_changes)


def _join(
    resolved: Resolved, dataset: Dataset, topology: Topology, record: Provenance, *, accept_changes: bool
) -> tuple[Experiment, Provenance]:
    config = resolved.config
    strategy = topology.start()
    _require_microbatches(config, strategy.replicas)
    record = record.with_devices(strategy.replicas if config.microbatches == "auto" else None)
    if strategy.replicas > 1:
        _prove(strategy, config, record, accept_changes=accept_changes)
    from vaeflow.experiment import build

    return build(resolved, dataset, strategy), record


def _prove(strategy: Strategy, config: Config, record: Provenance, *, accept_changes: bool) -> None:
    from vaeflow.agreement import require_agreement
    from vaeflow.engine.processes import Processes
    from vaeflow.engine.proof import prove_reductions

    prove_reductions(strategy)
    if strategy.processes > 1:
        _say_accepted(require_agreement(Processes(strategy), record, accept=accept_changes))
    if config.compression != "none":
        prove_reductions(strategy, config.compression)
    where = f"{strategy.replicas} replicas in {strategy.processes} process{'es' if strategy.processes > 1 else ''}"
    say(f"strategy {strategy.name}: {where}; a test of its sums came out right")


def _say_accepted(differences: str) -> None:
    """Say how ranks differ, if they do and may."""
    if differences:
        say(f"warning: the ranks differ, which --accept-changes allows: {differences}")


def _require_microbatches(config: Config, replicas: int) -> None:
    if config.microbatches != "auto" and replicas > config.microbatches:
        raise UsageError(
            f"{replicas} replicas are more than microbatches = {config.microbatches}: some would have nothing to do; "
            f"use at most {config.microbatches} replicas (another number of microbatches is another run)"
        )
