"""Start a run from the weights of another one: `init_from` of the config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.distributed.job.job import Job
from vaeflow.errors import VaeflowError
from vaeflow.files.write import write_json
from vaeflow.runtime.console import say
from vaeflow.training.checkpoints.restore import weights_of
from vaeflow.training.run_files.directory import RunDirectory

if TYPE_CHECKING:
    from vaeflow.config.resolve import Resolved
    from vaeflow.training.experiment import Experiment
    from vaeflow.training.provenance.record import Provenance


def require_source(source: Path) -> None:
    """Check, before devices are started, that a directory is a run's.

    Only rank 0 reads it: other ranks may have other disks.

    Raises:
        VaeflowError: if it is not.
    """
    if Job.current().rank == 0:
        try:
            RunDirectory.open(source)
        except VaeflowError as error:
            raise type(error)(f"init_from: {error}") from error


def take_weights(run_dir: Path, resolved: Resolved, experiment: Experiment, record: Provenance) -> None:
    """Assign the newest weights of the run that the config names, and write init.json.

    Args:
        run_dir: the new run's directory.
        resolved: its config and components.
        experiment: its weights are replaced.
        record: its provenance record.

    Raises:
        CheckpointError: if there is no valid checkpoint.
    """
    source = RunDirectory.open(Path(str(resolved.config.init_from)))
    arrays, progress = weights_of(source, resolved, record)
    experiment.state.assign_weights(arrays)
    digest = experiment.state.weights_sha256()
    write_json(run_dir / "init.json", {"run": str(source.path), "step": progress.step, "weights_sha256": digest})
    say(f"starting from the weights of {source.path} at step {progress.step} (sha256 {digest[:16]})")
