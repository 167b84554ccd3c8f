"""What the rules of `vaeflow plugins check` find of many components, in one process."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from helpers.fork_server import seed_server, server
from helpers.paths import HELPERS
from helpers.small_runs import python
from vaeflow.plugin_kit.checks.forks import HASH_SEEDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

Component = tuple[str, str]  # kind and name


def found_by(
    asked: Iterable[tuple[Component, Sequence[str], Mapping[str, object]]], *files: Path, cwd: Path | None = None
) -> dict[Component, list[tuple[str, str, str]]]:
    """Return rule, outcome and message of each rule that was run, by component.

    Args:
        asked: components, the rules to run of each (none: all), and its options.
        files: plugins that are not installed.
        cwd: where it runs; here, if left out.
    """
    lines = "\n".join(json.dumps([*component, rules, options]) for component, rules, options in asked)
    seed_server(HASH_SEEDS[0])
    replaced = f"import runpy, sys; sys.executable = {str(server().programs / 'python')!r}"
    program = f"{replaced}; runpy.run_path({str(HELPERS / 'many_checks.py')!r}, run_name='__main__')"
    command = [*python(), "-c", program, *map(str, files)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, cwd=cwd)
    found: dict[Component, list[tuple[str, str, str]]] = {}
    for kind, name, *row in map(json.loads, done.stdout.splitlines()):
        found.setdefault((kind, name), []).append(tuple(row))
    return found
