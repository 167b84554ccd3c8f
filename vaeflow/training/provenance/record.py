"""The provenance record of a run, and comparison of records.

Records are compared between the ranks of a job, between a resumed run and its checkpoint, and between a checkpoint and
the current state for evaluation or `init_from`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from vaeflow.training.provenance import code, data
from vaeflow.training.provenance.environment import before_tensorflow, devices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaeflow.config.resolve import Resolved
    from vaeflow.contracts import Dataset

PARTS = ("config", "code", "data", "environment")
MOST = 8  # most differences in a message
LONGEST = 300  # most characters of a value; enough to distinguish two long paths


@dataclass(frozen=True)
class Provenance:
    """The provenance record: everything that the bits of a run depend on.

    Attributes:
        config: the resolved config, as a tree of tables.
        code: fingerprints of vaeflow and of the plugins in use, see `vaeflow.training.provenance.code`.
        data: fingerprints of the data set's arrays, see `vaeflow.training.provenance.data`; empty before they are
            loaded.
        environment: versions, threads, processor and devices, see `vaeflow.training.provenance.environment`.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, resolved: Resolved) -> Provenance:
        """Return the record of a config and the code of its components. Imports no TensorFlow."""
        return cls(resolved.tree(), code.fingerprints(resolved.components().values()))

    def with_environment(self, threads: int) -> Provenance:
        """Return a copy with the environment, as far as it is known before TensorFlow is imported.

        Args:
            threads: intra-op threads per replica.
        """
        return replace(self, environment=before_tensorflow(threads))

    def with_data(self, dataset: Dataset) -> Provenance:
        """Return a copy with fingerprints of a data set."""
        return replace(self, data=data.fingerprints(dataset))

    def with_devices(self, replicas: int | None) -> Provenance:
        """Return a copy with the kind of TensorFlow's devices.

        Args:
            replicas: number of replicas if the bits depend on it; else None.
        """
        share = {} if replicas is None else {"replicas": replicas}
        return replace(self, environment={**self.environment, "device_kind": devices(), **share})

    def to_json(self) -> str:
        """Return the record as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Provenance:
        """Return the record from a JSON object; parts that are missing or not tables are empty."""
        found = {part: tree.get(part) for part in PARTS}
        return cls(**{part: value for part, value in found.items() if isinstance(value, dict)})

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Return the record from the text of `to_json`."""
        return cls.from_tree(json.loads(text))


class Difference(NamedTuple):
    """A value that differs between records.

    Attributes:
        part: `config`, `code`, `data` or `environment`.
        key: dotted, within the part.
        values: of each record; None if the record has no such value.
    """

    part: str
    key: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The value's name for messages."""
        words = {"config": self.key, "code": f"the code of {self.key}", "data": f"the data's {self.key}"}
        return words.get(self.part, self.key)


def differences(*records: Provenance) -> list[Difference]:
    """Return all values that differ between records, by part and key. Parts that are missing in one are skipped.

    >>> differences(Provenance({"seed": 0}), Provenance({"seed": 1}))
    [Difference(part='config', key='seed', values=(0, 1))]
    """
    found = []
    for part in PARTS:
        tables = [flat(getattr(record, part)) for record in records]
        if all(tables):
            keys = sorted({key for table in tables for key in table})
            rows = (Difference(part, key, tuple(table.get(key) for table in tables)) for key in keys)
            found += [row for row in rows if any(value != row.values[0] for value in row.values[1:])]
    return found


def differences_of_trees(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the differences of two trees of tables: dotted key, value before and value now (None if missing).

    >>> differences_of_trees({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    [('a.b', 1, 3)]
    """
    there, here = flat(before), flat(now)
    keys = sorted(there.keys() | here.keys())
    return [(key, there.get(key), here.get(key)) for key in keys if there.get(key) != here.get(key)]


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a tree of tables, including lists of tables, to one table with dotted keys.

    >>> flat({"a": {"b": 1}, "c": [{"name": "x"}]})
    {'a.b': 1, 'c[0].name': 'x'}
    """
    found: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            found |= flat(value, f"{path}.")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for number, item in enumerate(value):
                found |= flat(item, f"{path}[{number}].")
        else:
            found[path] = value
    return found


def listed(lines: Sequence[str]) -> str:
    """Join the first lines to one line, with the number of further ones."""
    more = f"; and {len(lines) - MOST} more" if len(lines) > MOST else ""
    return "; ".join(lines[:MOST]) + more


def shown(value: object) -> str:
    """Return a value for a message; 'missing' for None."""
    return "missing" if value is None else repr(value)[:LONGEST]
