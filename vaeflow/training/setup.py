"""Build an experiment from a resolved config, together with the other processes of the job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.data.classes import classes_of
from vaeflow.distributed.job.job import Job
from vaeflow.distributed.strategies.single import SingleStrategy
from vaeflow.errors import UsageError
from vaeflow.runtime.console import say

if TYPE_CHECKING:
    from vaeflow.config.resolve import Resolved
    from vaeflow.config.schema import Config
    from vaeflow.contracts import Dataset
    from vaeflow.data.sets import Folders
    from vaeflow.distributed.strategies.base import Strategy, Topology
    from vaeflow.training.agreement import FirstMeeting
    from vaeflow.training.experiment import Experiment
    from vaeflow.training.provenance.record import Provenance


def prepare(resolved: Resolved, folders: Folders) -> Experiment:
    """Load the data, start TensorFlow, join the other processes and build an experiment for training.

    Args:
        resolved: the config and its components.
        folders: of data sets.

    Raises:
        VaeflowError: if the data can't be loaded, or components don't fit them or each other.
    """
    topology: Topology = resolved.strategy.build()
    dataset, record = load(resolved, folders, topology)
    return start(resolved, dataset, topology, record)[0]


def prepare_to_read(
    resolved: Resolved,
    folders: Folders,
    *,
    topology: Topology | None = None,
    meeting: FirstMeeting | None = None,
    accept_changes: bool = False,
) -> tuple[Experiment, Provenance]:
    """Load the data and build an experiment for evaluation; TensorFlow chooses the threads.

    Args:
        resolved: the config and its components.
        folders: of data sets.
        topology: of the job; None uses one device, whatever trained the run.
        meeting: exchange between the job's processes; None if they compare later, over the strategy.
        accept_changes: whether ranks may differ in their environments.

    Returns:
        The experiment and its provenance record.

    Raises:
        VaeflowError: if the data can't be loaded, or components don't fit them or each other.
        UsageError: if ranks differ.
    """
    from vaeflow.runtime.tensorflow_setup import start_tensorflow

    topology = topology or SingleStrategy()
    dataset, record = load(resolved, folders, topology, meeting, trains=False)
    start_tensorflow()
    strategy = topology.start()
    if strategy.replicas > 1:
        _self_test(strategy, resolved.config, record, accept_changes=accept_changes)
    from vaeflow.training.experiment import build

    return build(resolved, dataset, strategy), record


def load(
    resolved: Resolved,
    folders: Folders,
    topology: Topology,
    meeting: FirstMeeting | None = None,
    *,
    trains: bool = True,
) -> tuple[Dataset, Provenance]:
    """Load the data and compare the provenance record with the other ranks, before TensorFlow is imported.

    Args:
        resolved: the config and its components.
        folders: of data sets.
        topology: of the job.
        meeting: exchange between its processes; None if they compare later, over the strategy.
        trains: whether steps are taken. No more replicas than microbatches can share a step.

    Returns:
        The data set and the provenance record.

    Raises:
        VaeflowError: if the data can't be loaded.
        UsageError: if ranks differ.
    """
    from vaeflow.runtime.threads import threads_of
    from vaeflow.training.provenance.record import Provenance

    record = Provenance.of(resolved).with_environment(threads_of(resolved.config, topology.local_processes))
    if trains:
        _require_microbatches(resolved.config, topology.replicas or Job.current().processes)  # at least one per process
    dataset = resolved.dataset.build(folders)
    if resolved.config.condition.labels:
        classes_of(dataset)  # an error before any device starts
    record = record.with_data(dataset)
    _print_accepted(meeting.agree(record) if meeting is not None else "")
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
        record: the provenance record, including threads.
        accept_changes: whether environments may differ between ranks.

    Returns:
        The experiment, and the record with the devices.

    Raises:
        VaeflowError: if the others can't be reached, or components don't fit the data or each other.
    """
    from vaeflow.runtime.tensorflow_setup import Runtime, start_tensorflow

    start_tensorflow(Runtime(threads=record.environment["intra_op_threads"]))
    experiment, record = _join(resolved, dataset, topology, record, accept_changes=accept_changes)
    experiment.require_memory()
    from vaeflow.training.run_warnings import warnings_of

    for line in warnings_of(resolved, experiment):
        say(f"warning: {line}")
    return experiment, record


def rejoin(
    resolved: Resolved, dataset: Dataset, record: Provenance, *, accept_changes: bool
) -> tuple[Experiment, Provenance]:
    """Join the current workers and build the experiment again: its graphs depend on the number of replicas.

    Args:
        resolved: the config and its components.
        dataset: as loaded.
        record: the provenance record.
        accept_changes: whether environments may differ between ranks.

    Raises:
        VaeflowError: if the others can't be reached.
    """
    import keras

    # Horovod matches tensors by name. Keras numbers layers per process, and a new process starts at one.
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
        _self_test(strategy, config, record, accept_changes=accept_changes)
        where = f"{strategy.replicas} replicas in {strategy.processes} process{'es' if strategy.processes > 1 else ''}"
        say(f"strategy {strategy.name}: {where}; all-reduce self-test passed")
    from vaeflow.training.experiment import build

    return build(resolved, dataset, strategy), record


def _self_test(strategy: Strategy, config: Config, record: Provenance, *, accept_changes: bool) -> None:
    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.distributed.strategies.verify import self_test_reductions
    from vaeflow.training.agreement import require_agreement

    self_test_reductions(strategy)
    if strategy.processes > 1:
        _print_accepted(require_agreement(Processes(strategy), record, accept=accept_changes))
    if config.compression != "none":
        self_test_reductions(strategy, config.compression)


def _print_accepted(differences: str) -> None:
    """Print how ranks differ, if they do."""
    if differences:
        say(f"warning: the ranks differ, which --accept-changes allows: {differences}")


def _require_microbatches(config: Config, replicas: int) -> None:
    if config.microbatches != "auto" and replicas > config.microbatches:
        raise UsageError(
            f"{replicas} replicas are more than microbatches = {config.microbatches}: some would be idle; use at most "
            f"{config.microbatches} replicas (another number of microbatches gives other weights)"
        )
