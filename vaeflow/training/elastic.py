"""Elastic jobs: processes join and leave, and the run continues from a snapshot in memory."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.distributed.job.job import Job
from vaeflow.errors import MembersChangedError, of_the_machine

if TYPE_CHECKING:
    from vaeflow.distributed.job.host_changes import HostChanges
    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.engine.state import TrainingState
    from vaeflow.training.checkpoints.folder import Progress

SECONDS_PER_SNAPSHOT = 5.0  # most training time that is lost when a process dies


@dataclass(frozen=True)
class Snapshot:
    """The state of a run at one step, in memory.

    Attributes:
        directory: of the run.
        record: the provenance record, as `Provenance.to_json` returns it.
        progress: of the run.
        state: weights, optimizer slots and the rest, as `TrainingState.to_bytes` returns them.
    """

    directory: str
    record: str
    progress: Progress
    state: bytes

    def to_bytes(self) -> bytes:
        """Return it as one line of JSON and the state."""
        return json.dumps([self.directory, self.record, self.progress.to_json()]).encode() + b"\n" + self.state

    @classmethod
    def from_bytes(cls, content: bytes) -> Snapshot:
        """Return what `to_bytes` wrote."""
        from vaeflow.training.checkpoints.folder import Progress

        head, _, state = content.partition(b"\n")
        directory, record, progress = json.loads(head)
        return cls(directory, record, Progress.from_json(progress), state)


class Members:
    """The state of a process that outlives a change of workers in an elastic job.

    In a job that is not elastic there are no snapshots, and workers never change.

    Attributes:
        elastic: whether processes may join and leave.
        snapshot: the newest snapshot that all processes have; None before the first.
        record: the provenance record with the current workers, as `Provenance.to_json` returns it.
    """

    record: str = "{}"

    def __init__(self) -> None:
        self.elastic = Job.current().elastic
        self.snapshot: Snapshot | None = None
        self._changes: HostChanges | None = None
        self._due = time.monotonic()

    def listen(self) -> None:
        """Start to receive the launcher's host changes. Horovod must be initialized."""
        if self.elastic:
            from vaeflow.distributed.job.host_changes import HostChanges

            self._changes = self._changes or HostChanges()

    def clear_changes(self) -> None:
        """Discard host changes received so far; the next rendezvous includes them."""
        if self._changes is not None:
            self._changes.clear()

    def survives(self, error: BaseException) -> bool:
        """Return whether the run continues after an error, with the remaining workers.

        It does if workers changed, or if one was lost during an all-reduce.
        """
        if not self.elastic:
            return False
        sums = "Horovod" in str(error) and (isinstance(error, RuntimeError) or of_the_machine(error) is not None)
        return isinstance(error, MembersChangedError) or sums

    def changed(self) -> bool:
        """Return whether the launcher reported a host change to this process; it reports to one process only."""
        return self._changes is not None and self._changes.received

    def due(self) -> bool:
        """Return whether it is time for a snapshot."""
        return self.elastic and time.monotonic() >= self._due

    def snapshot_now(self, directory: str, state: TrainingState, progress: Progress) -> None:
        """Take a snapshot. All processes call this at the same step."""
        if self.elastic:
            self.snapshot = Snapshot(directory, self.record, progress, state.to_bytes())
            self._due = time.monotonic() + SECONDS_PER_SNAPSHOT

    def share(self, processes: Processes) -> Snapshot | None:
        """Return the newest snapshot of any process, on all processes; None if the run starts."""
        if not self.elastic:
            return None
        own = self.snapshot.progress.step + 1 if self.snapshot else 0
        steps = processes.add(*(own * (rank == processes.rank) for rank in range(processes.count)))
        if not any(steps):
            return None
        root = steps.index(max(steps))
        content = self.snapshot.to_bytes() if self.snapshot and processes.rank == root else b""
        self.snapshot = Snapshot.from_bytes(processes.broadcast(content, root=root))
        return self.snapshot
