"""Filling in the files of `launch/`: each works as it is, and has lines that can be replaced."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STRICT = "set -euo pipefail\n"
"""The line of a script that its arguments are put behind."""

_DIRECTIVE = re.compile(r"^#SBATCH .*\n", re.MULTILINE)


def with_arguments(script: str, arguments: Sequence[str]) -> str:
    r"""Return a shell script that needs no arguments.

    >>> print(with_arguments("set -euo pipefail\nexec echo $1", ["a b", "c"]))
    set -euo pipefail
    set -- 'a b' c
    exec echo $1
    """
    return _replaced_once(script, re.compile(f"^{STRICT}", re.MULTILINE), f"{STRICT}set -- {shlex.join(arguments)}\n")


def with_variables(script: str, variables: Mapping[str, str]) -> str:
    """Return a shell script with other values in place of `NAME=${NAME:-default}`.

    >>> with_variables("N=${N:-2} # processes", {"N": "4"})
    'N=4 # processes'
    """
    for name, value in variables.items():
        default = re.compile(rf"^{name}=\$\{{{name}:-[^}}]*\}}", re.MULTILINE)
        script = _replaced_once(script, default, f"{name}={shlex.quote(value)}")
    return script


def with_directives(batch: str, options: Mapping[str, str]) -> str:
    r"""Return a batch file with other options of sbatch, or more of them.

    >>> print(with_directives("#SBATCH --nodes=2\n", {"nodes": "4", "partition": "gpu"}).rstrip())
    #SBATCH --nodes=4
    #SBATCH --partition=gpu
    """
    for option, value in options.items():
        line = f"#SBATCH --{option}={value}\n" if value else f"#SBATCH --{option}\n"
        own = re.compile(rf"^#SBATCH --{re.escape(option)}(=.*)?\n", re.MULTILINE)
        if own.search(batch):
            batch = _replaced_once(batch, own, line)
        else:
            end = [found.end() for found in _DIRECTIVE.finditer(batch)][-1]
            batch = batch[:end] + line + batch[end:]
    return batch


def with_values(manifest: str, values: Mapping[str, object]) -> str:
    """Return a YAML manifest with other values in the lines that end in `# NAME`.

    >>> with_values("replicas: 2  # PROCESSES", {"PROCESSES": 4})
    'replicas: 4'
    """
    for name, value in values.items():
        line = re.compile(rf"^(\s*[\w-]+: ).*  # {name}$", re.MULTILINE)
        if not line.search(manifest):
            raise ValueError(f"the manifest has no line that ends in # {name}")
        text = json.dumps(value).replace("\\", r"\\")
        manifest = line.sub(rf"\g<1>{text}", manifest)
    return manifest


def _replaced_once(text: str, pattern: re.Pattern[str], new: str) -> str:
    changed, count = pattern.subn(lambda _: new, text, count=1)
    if not count:
        raise ValueError(f"the file has no line {pattern.pattern!r}")
    return changed
