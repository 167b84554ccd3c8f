"""Check before the first step that all ranks of a job have the same config, code, data and environment.

Ranks compare twice. First over HTTP, before TensorFlow is imported: config, code, data, versions, threads and
processor. Then over the strategy's all-reduce: the same, and the devices. Elastic jobs repeat the second comparison
each time they re-form. If ranks differ, the job ends on all of them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from vaeflow.distributed.job.first_meeting import MeetingPlace
from vaeflow.distributed.job.job import Job
from vaeflow.distributed.job.waiting import ranks_in_words
from vaeflow.errors import ElsewhereError, RankError, UsageError, VaeflowError
from vaeflow.training.provenance.record import Difference, Provenance, differences, listed, shown

if TYPE_CHECKING:
    from types import TracebackType

    from vaeflow.distributed.strategies.processes import Processes

ACCEPT = "accept_changes"
FAILED = 20.0  # seconds for which a process that failed waits for the others to report its error


class FirstMeeting:
    """The first exchange between the processes of a job, as a context manager; errors inside are sent to all ranks.

    Args:
        accept_changes: whether environments may differ between ranks; all ranks must set it.
        command: further command line options that must be equal on all ranks.
    """

    def __init__(self, *, accept_changes: bool = False, **command: Any) -> None:
        self._job = Job.current()
        self._place = MeetingPlace.of(self._job)
        self._command = {ACCEPT: accept_changes, **command}
        self.record: Provenance | None = None  # as far as it is known

    def __enter__(self) -> Self:
        return self

    def agree(self, record: Provenance) -> str:
        """Compare this rank's record with those of the other ranks. Each rank calls this once, inside the context.

        Returns:
            How the ranks' environments differ, in one line, if `accept_changes` allows it; else an empty text.

        Raises:
            UsageError: if the ranks differ; the message lists the differences, the ranks and the values.
            VaeflowError: if other ranks failed or do not connect in time.
        """
        self.record = record
        if self._place is None:
            return ""
        verdict = self._hold(self._place, None, 0)
        self._judged(verdict, None)
        return str(verdict["accepted"])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        place, self._place = self._place, None
        if place is None or not isinstance(error, Exception):
            return
        text, code = " ".join(str(error).split()), getattr(error, "exit_code", 1)
        try:
            verdict = self._hold(place, text, code, patience=FAILED)
        except VaeflowError:  # the others did not connect: report this process's own error
            return
        self._judged(verdict, error)

    def _hold(self, place: MeetingPlace, error: str | None, code: int, patience: float | None = None) -> dict[str, Any]:
        self._place = None  # ranks exchange only once
        record = None if self.record is None else json.loads(self.record.to_json())
        own = {"record": record, "command": self._command, "error": error, "code": code}
        return dict(json.loads(place.hold(json.dumps(own), judge, patience=patience)))

    def _judged(self, verdict: dict[str, Any], error: Exception | None) -> None:
        """Raise the error that the verdict has for this process."""
        if verdict["differences"]:
            raise UsageError(verdict["differences"]) from error
        errors: dict[str, list[Any]] = verdict["errors"]
        if not errors:
            return
        rank = self._job.rank
        first, (text, code) = next(iter(errors.items()))
        if error is not None:
            earlier = [line for other, (line, _) in errors.items() if int(other) < rank]
            if errors[str(rank)][0] in earlier:  # report the same error once
                raise ElsewhereError(str(error), code) from error
        elif rank == 0:
            raise RankError(f"rank {first}: {text}", code)
        else:
            raise ElsewhereError(text, code)


def judge(texts: list[str]) -> str:
    """Compare the messages of all ranks; return as JSON how they differ and which ranks have errors.

    Args:
        texts: the JSON message of each rank.
    """
    handed_in = [json.loads(text) for text in texts]
    errors = {rank: (one["error"], one["code"]) for rank, one in enumerate(handed_in) if one["error"] is not None}
    records = {rank: _record(one) for rank, one in enumerate(handed_in) if one["record"] is not None}
    refused, accepted = split(differences(*records.values()), accept=all(one["command"][ACCEPT] for one in handed_in))
    ranks = list(records)
    lines = {"differences": refusal(refused, ranks), "accepted": difference_line(accepted, ranks)}
    return json.dumps({**lines, "errors": errors})


def _record(handed_in: dict[str, Any]) -> Provenance:
    """Return a rank's record, with the command line options added to its environment if that is known."""
    record = Provenance.from_tree(handed_in["record"])
    command = {f"--{key.replace('_', '-')}": value for key, value in handed_in["command"].items()}
    return replace(record, environment=record.environment and {**record.environment, **command})


def require_agreement(processes: Processes, record: Provenance, *, accept: bool) -> str:
    """Compare this rank's record with those of the other ranks, over the strategy's all-reduce.

    Args:
        processes: of the job.
        record: of this process, with its devices.
        accept: whether environments may differ.

    Returns:
        How environments differ, in one line, if `accept` is set; else an empty text.

    Raises:
        UsageError: on all ranks, if they differ.
    """
    ranks = list(range(processes.count))
    found = differences(*map(Provenance.from_json, processes.texts(record.to_json())))
    refused, accepted = split(found, accept=accept)
    if refused:
        raise UsageError(refusal(refused, ranks))
    return difference_line(accepted, ranks)


def split(found: list[Difference], *, accept: bool) -> tuple[list[Difference], list[Difference]]:
    """Return the differences that end a job and those that are accepted; only environments may differ."""
    accepted = [one for one in found if accept and one.part == "environment"]
    return [one for one in found if one not in accepted], accepted


def refusal(found: list[Difference], ranks: list[int]) -> str:
    """Return the error message about differences, or an empty text if there are none."""
    if not found:
        return ""
    advice = "Start all ranks with the same command, files and versions"
    if all(one.part == "environment" for one in found):
        advice = (
            "The weights would depend on the assignment of work to ranks. Use equal hosts (`threads=N` sets the "
            "threads), or start all ranks with --accept-changes"
        )
    return f"the ranks of this job differ: {difference_line(found, ranks)}. {advice}"


def difference_line(found: list[Difference], ranks: list[int]) -> str:
    """Return how ranks differ, in one line; an empty text if they do not.

    Args:
        found: the differences between their records.
        ranks: the rank of each record.
    """
    causes = [one for one in found if one.part == "config"]
    own = any(one.key.startswith("dataset.") for one in causes)  # these keys select other data
    shown = [one for one in found if not (own and one.part == "data")]
    return listed([f"{one.name} is {_values(one, ranks)}" for one in shown])


def _values(one: Difference, ranks: list[int]) -> str:
    """Return the value of each rank: `0 at rank 0 and 1 at ranks 1, 2`."""
    by_value: dict[str, list[int]] = {}
    for rank, value in zip(ranks, one.values, strict=True):
        by_value.setdefault(shown(value), []).append(rank)
    return " and ".join(f"{value} at {ranks_in_words(those)}" for value, those in by_value.items())
