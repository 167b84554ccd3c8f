"""Separate processes for rules, forked from one that has imported TensorFlow: an import takes seconds, a fork does not.

`python -m vaeflow.plugin_kit.checks.forks` is that process. It loads no plugin and starts nothing of TensorFlow, so
that each child imports the plugin itself and sets its own devices.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
from typing import IO, Any, NoReturn, Self

from vaeflow.plugin_kit.checks.require import BrokenRuleError

HASH_SEEDS = ("1", "2")
"""Seeds of Python's hashes; the order of a set of text depends on them."""


class Forks:
    """Processes that are forked, one for each seed of Python's hashes. The first call with a seed starts its process.

    Use it in a `with` statement: its end kills them.
    """

    def __init__(self) -> None:
        self._forked: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for seed in tuple(self._forked):
            self._end(seed)

    def call(self, module: str, request: Any, seconds: float, hash_seed: str = HASH_SEEDS[0]) -> Any:
        """Call `answer(request)` of a module in a forked process.

        Args:
            module: its dotted name.
            request: what JSON can hold.
            seconds: after which it is killed.
            hash_seed: PYTHONHASHSEED.

        Returns:
            The function's result, by way of JSON.

        Raises:
            BrokenRuleError: if it raises, ends early or takes too long.
        """
        if hash_seed not in self._forked:
            self._forked[hash_seed] = _start(hash_seed)
        requests, answers = self._forked[hash_seed].stdin, self._forked[hash_seed].stdout
        assert requests is not None
        assert answers is not None
        requests.write(json.dumps([os.getcwd(), module, request]) + "\n")  # noqa: PTH109
        requests.flush()
        if not select.select([answers], [], [], seconds)[0]:
            self._end(hash_seed)
            raise BrokenRuleError(f"a separate process has not ended after {seconds:g} s")
        done, answer = json.loads(answers.readline())
        if not done:
            raise BrokenRuleError(f"in a separate process: {answer}")
        return answer

    def _end(self, hash_seed: str) -> None:
        with self._forked.pop(hash_seed) as process:
            os.killpg(process.pid, signal.SIGKILL)


def _start(hash_seed: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        start_new_session=True,  # so that its children are killed with it
    )


def main() -> None:
    """Fork a child for each line of standard input, and print what it answers, a line each."""
    from vaeflow.runtime.tensorflow_setup import set_environment

    set_environment()
    importlib.import_module("vaeflow.plugin_kit.checks.rules_by_kind")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a plugin prints is not an answer
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _answer(os.fdopen(write, "w"), *json.loads(line))
        os.close(write)
        with os.fdopen(read) as found:
            text = found.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answers.write((text or json.dumps([False, f"exit code {code}"])) + "\n")
        answers.flush()


def _answer(answers: IO[str], folder: str, module: str, request: Any) -> NoReturn:
    """Write what a module's `answer` returns or raises, and end this process."""
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123
    os.chdir(folder)
    try:
        answer = [True, importlib.import_module(module).answer(request)]
    except Exception as error:  # noqa: BLE001 It becomes the rule's message.
        answer = [False, f"{type(error).__name__}: {' '.join(str(error).split())}"]
    with answers:
        json.dump(answer, answers)
    os._exit(0)


if __name__ == "__main__":
    main()
