"""Run a short job on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess

from vaeflow.plugin_kit.checks.require import BrokenRuleError

LAUNCHERS_VARIABLES = ("TF_CONFIG", "HOROVOD_RANK", "HOROVOD_SIZE")


def run_job(command: list[str], launcher: list[str], seconds: float) -> None:
    """Run a command to its end.

    Args:
        command: what each process runs.
        launcher: the command before it; `["TF_CONFIG"]` starts two processes joined by this variable.
        seconds: after which it is killed.

    Raises:
        BrokenRuleError: if it fails; the last line of what it printed is the message.
    """
    kept = {name: value for name, value in os.environ.items() if name not in LAUNCHERS_VARIABLES}
    environments = [kept]
    if launcher == ["TF_CONFIG"]:
        environments, launcher = [{**kept, "TF_CONFIG": config} for config in _tf_configs(2)], []
    processes = [
        subprocess.Popen(  # noqa: S603
            [*launcher, *command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
        for environment in environments
    ]
    try:
        printed = [process.communicate(timeout=seconds)[0] for process in processes]
    except subprocess.TimeoutExpired:
        raise BrokenRuleError(f"a job of three steps has not ended after {seconds:g} s") from None
    finally:
        for process in processes:
            with process:
                process.kill()
    for process, text in zip(processes, printed, strict=True):
        if process.returncode:
            lines = [line for line in text.splitlines() if line.strip()] or [f"exit code {process.returncode}"]
            raise BrokenRuleError(f"a job of three steps failed: {lines[-1]}")


def _tf_configs(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    cluster = {"worker": addresses}
    return [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}}) for rank in range(count)]
