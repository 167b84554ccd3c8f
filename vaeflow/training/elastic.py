"""Elastic jobs: processes come and go, and the run goes on from what the others remember."""

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

SECONDS_A_SNAPSHOT = 5.0  # what a process that dies costs the others, at most


@dataclass(frozen=True)
class Snapshot:
    """A moment of a run, in memory.

    Attributes:
        directory: of the run.
        record: what the bits depend on, as `Provenance.to_json` gives it.
        progress: how far it is.
        state: weights, slots and the rest, as `TrainingState.to_bytes` gives them.
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
    """What a process remembers from one set of members to the next.

    In a job that is not elastic it remembers nothing, and members never change.

    Attributes:
        elastic: whether processes may come and go.
        snapshot: the newest moment that all of them have seen; None before the first.
        record: what the bits depend on with the members that there are, as `Provenance.to_json` gives it.
    """

    record: str = "{}"

    def __init__(self) -> None:
        self.elastic = Job.current().elastic
        self.snapshot: Snapshot | None = None
        self._changes: HostChanges | None = None
        self._due = time.monotonic()

    def listen(self) -> None:
        """Hear from here on of the launcher's changes. Horovod has been initialized."""
        if self.elastic:
            from vaeflow.distributed.job.host_changes import HostChanges

            self._changes = self._changes or HostChanges()

    def forget(self) -> None:
        """Forget the launcher's changes up to now: those who meet next know of them."""
        if self._changes is not None:
            self._changes.forget()

    def survives(self, error: BaseException) -> bool:
        """Say whether the run goes on after an error, with the processes that are left.

        It does if members changed, or if one was lost in the middle of a sum.
        """
        if not self.elastic:
            return False
        sums = "Horovod" in str(error) and (isinstance(error, RuntimeError) or of_the_machine(error) is not None)
        return isinstance(error, MembersChangedError) or sums

    def changed(self) -> bool:
        """Say whether the launcher has told this process of other hosts; it tells one process only."""
        return self._changes is not None and self._changes.heard

    def due(self) -> bool:
        """Say whether it is time for a snapshot."""
        return self.elastic and time.monotonic() >= self._due

    def snapshot_now(self, directory: str, state: TrainingState, progress: Progress) -> None:
        """Take a snapshot. All processes do it at the same step."""
        if self.elastic:
            self.snapshot = Snapshot(directory, self.record, progress, state.to_bytes())
            self._due = time.monotonic() + SECONDS_A_SNAPSHOT

    def share(self, processes: Processes) -> Snapshot | None:
        """Return the newest snapshot that any of the processes has, on all of them; None if the run begins."""
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
