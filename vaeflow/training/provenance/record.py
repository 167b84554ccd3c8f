"""The record of what the bits of a run depend on, and how records differ.

It is compared wherever a run meets something: the ranks of a job with each other, a resumed run with its checkpoint, a
run that is evaluated or that another run starts from with what is there now.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from vaeflow.config.resolve import tree_of
from vaeflow.training.provenance import code, data
from vaeflow.training.provenance.environment import before_tensorflow, devices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaeflow.config.resolve import Resolved
    from vaeflow.contracts import Dataset

PARTS = ("config", "code", "data", "environment")
MOST = 8  # differences that a message lists
LONGEST = 300  # characters of a value: two long paths shall be told apart


@dataclass(frozen=True)
class Provenance:
    """What the bits of a run depend on.

    Attributes:
        config: the resolved config, as a tree of tables.
        code: fingerprints of vaeflow and of the plugins in use, see `vaeflow.training.provenance.code`.
        data: fingerprints of the data set's arrays, see `vaeflow.training.provenance.data`; empty until they are
            loaded.
        environment: versions, threads, processor and devices, see `vaeflow.training.provenance.environment`.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, resolved: Resolved) -> Provenance:
        """Return the record of a config and of the code that it selects. Imports no TensorFlow."""
        return cls(tree_of(resolved.config), code.fingerprints(resolved.components().values()))

    def with_environment(self, threads: int) -> Provenance:
        """Return it with what is known of the environment before TensorFlow is imported.

        Args:
            threads: intra-op threads of a replica.
        """
        return replace(self, environment=before_tensorflow(threads))

    def with_data(self, dataset: Dataset) -> Provenance:
        """Return it with fingerprints of a data set."""
        return replace(self, data=data.fingerprints(dataset))

    def with_devices(self, replicas: int | None) -> Provenance:
        """Return it with the kind of devices that TensorFlow found.

        Args:
            replicas: that share a step, where the bits depend on their number; else None.
        """
        share = {} if replicas is None else {"replicas": replicas}
        return replace(self, environment={**self.environment, "device_kind": devices(), **share})

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Provenance:
        """Return the record that a JSON object holds; parts that are missing or no tables are empty."""
        found = {part: tree.get(part) for part in PARTS}
        return cls(**{part: value for part, value in found.items() if isinstance(value, dict)})

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Return what `to_json` gave."""
        return cls.from_tree(json.loads(text))


class Difference(NamedTuple):
    """One thing in which records differ.

    Attributes:
        part: `config`, `code`, `data` or `environment`.
        key: within the part, with dots.
        values: of each record; None where one has none.
    """

    part: str
    key: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """What differs, in words."""
        words = {"config": self.key, "code": f"the code of {self.key}", "data": f"the data's {self.key}"}
        return words.get(self.part, self.key)


def differences(*records: Provenance) -> list[Difference]:
    """Return all in which some records differ, by part and key. A part that one of them lacks is not compared.

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
    """Return what differs between two trees of tables: the key with dots, its value before and now; None for none.

    >>> differences_of_trees({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    [('a.b', 1, 3)]
    """
    there, here = flat(before), flat(now)
    keys = sorted(there.keys() | here.keys())
    return [(key, there.get(key), here.get(key)) for key in keys if there.get(key) != here.get(key)]


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a tree of tables as one, with dots in its keys; lists of tables too.

    >>> flat({"a": {"b": 1}, "c": [{"name": "x"}]})
    {'a.b': 1, 'c.0.name': 'x'}
    """
    found: dict[str, Any] = {}
    for key, value in table.items():
        tables = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
        inner = {str(number): item for number, item in enumerate(value)} if tables else value
        found.update(flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": value})
    return found


def listed(lines: Sequence[str]) -> str:
    """Return the first of some lines as one, and how many more there are."""
    more = f"; and {len(lines) - MOST} more" if len(lines) > MOST else ""
    return "; ".join(lines[:MOST]) + more


def shown(value: object) -> str:
    """Return a record's value as a message shows it; None is what a record lacks."""
    return "missing" if value is None else repr(value)[:LONGEST]
