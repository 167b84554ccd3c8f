"""Runs rules of many components in one process: `python many_checks.py MODULE...` reads JSON lines [kind, name, rule,
options] from standard input and prints what was found, a JSON line each."""

from __future__ import annotations

import json
import sys

from vaeflow.distributed.strategies.mirrored import make_logical_cpus
from vaeflow.plugins.registry import Registry
from vaeflow.runtime.tensorflow_setup import Runtime, start_tensorflow


def main() -> None:
    """Run what standard input asks for."""
    start_tensorflow(Runtime(threads=1))
    make_logical_cpus(2)
    from vaeflow.plugin_kit.checks.forks import Forks
    from vaeflow.plugin_kit.checks.rules_by_kind import check
    from vaeflow.plugin_kit.checks.subject import Subject

    registry = Registry.load(sys.argv[1:])
    with Forks() as forks:
        for line in sys.stdin:
            kind, name, rules, options = json.loads(line)
            for result in check(Subject(registry, kind, name, options, forks=forks), rules):
                row = [kind, name, result.rule, result.outcome, result.message]
                sys.stdout.write(f"{json.dumps(row)}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
