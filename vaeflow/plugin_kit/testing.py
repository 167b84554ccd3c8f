"""The contracts of components as a pytest fixture, for the tests of a plugin.

pytest finds it if vaeflow is installed:

    def test_contract(contract):
        contract("encoder", "resnet", depth=3)

Rules run in a separate process: they need two replicas, and a process can set TensorFlow's devices only once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CODES = (0, 2)  # all rules are kept; some are broken


@dataclass(frozen=True)
class Found:
    """The result of a rule for a component.

    Attributes:
        kind: the component's.
        name: the component's.
        origin: the plugin that registered it.
        rule: the rule's name.
        outcome: `ok`, `broken` or `skipped`.
        message: of a broken rule the tensor and the numbers; of a skipped one the reason; otherwise empty.
    """

    kind: str
    name: str
    origin: str
    rule: str
    outcome: str
    message: str


class Contract(Protocol):
    """Runs the rules of a component's kind, see `contract`."""

    def __call__(
        self,
        kind: str,
        name: str,
        *,
        plugin: str | None = None,
        rules: Sequence[str] = (),
        x_shape: Sequence[int] | None = None,
        latent_size: int | None = None,
        partners: Mapping[str, str] | None = None,
        **options: Any,
    ) -> list[Found]:
        """Return the result of each rule, see `check`; the test fails if a rule is broken."""


def _start() -> list[str]:
    """Return the start of the command; vaeflow's own tests start it in another way."""
    return [sys.executable, "-m", "vaeflow"]


def check(
    kind: str,
    name: str,
    *,
    plugin: str | None = None,
    rules: Sequence[str] = (),
    x_shape: Sequence[int] | None = None,
    latent_size: int | None = None,
    partners: Mapping[str, str] | None = None,
    **options: Any,
) -> list[Found]:
    """Run the rules of a component's kind in a separate process, as `vaeflow plugins check` does.

    Args:
        kind: the component's.
        name: the component's.
        plugin: a module or a .py file, for a plugin that is not installed.
        rules: names of the rules to run; all if empty.
        x_shape: X, the shape of an example.
        latent_size: D.
        partners: names of components of other kinds to check it with, by kind, such as `{"prior": "my-prior"}`.
        **options: of the component.

    Raises:
        RuntimeError: if there is no such component, it can't be checked, or the process ends early; the message is
            vaeflow's error line, or the number of rules that were run.
    """
    command = [*_start(), "plugins", "check", kind, name, "--json"]
    command += [f"{key}={'none' if value is None else json.dumps(value)}" for key, value in options.items()]
    command += [f"--plugin={plugin}"] if plugin else []
    command += [f"--rule={rule}" for rule in rules]
    command += [f"--x-shape={','.join(map(str, x_shape))}"] if x_shape else []
    command += [f"--latent-size={latent_size}"] if latent_size else []
    command += [f"--with={kind}={name}" for kind, name in (partners or {}).items()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not rows:
        raise RuntimeError(done.stderr.strip() or f"vaeflow plugins check ended with exit code {done.returncode}")
    counts = [row.pop("of") for row in rows]
    found = [Found(**row) for row in rows]
    if done.returncode not in CODES or len(found) < counts[0]:
        tried = f"{len(found)} of {counts[0]} rules, the last was {found[-1].rule}"
        raise RuntimeError(f"vaeflow plugins check ended with exit code {done.returncode} after {tried}")
    return found


@pytest.fixture
def contract() -> Contract:
    """Return a function that runs the rules of a component's kind and fails the test if a rule is broken."""

    def run(kind: str, name: str, **options: Any) -> list[Found]:
        found = check(kind, name, **options)
        broken = [f"{one.rule}: {one.message}" for one in found if one.outcome == "broken"]
        if broken:
            pytest.fail(
                f"{kind} {name!r} of {found[0].origin} breaks the contract\n  " + "\n  ".join(broken), pytrace=False
            )
        return found

    return run
