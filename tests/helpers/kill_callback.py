"""The source of a plugin whose callback `kill` kills its own process in the middle of a run."""

from __future__ import annotations

SOURCE = """
import os, signal, time
from vaeflow import Component, hookimpl
from vaeflow.callbacks import Callback

class Kill(Callback):
    def on_steps(self, run, step):
        if step < {step} or run.first_step >= {saved}:
            return
        while not (run.directory / "checkpoints" / "step-{saved:09d}").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

def kill():
    return Kill()

@hookimpl
def vaeflow_components():
    yield Component("callback", "kill", kill)
"""


def killing_at(step: int, *, saved: int) -> str:
    """Return the plugin's source: SIGKILL at a step, once the checkpoint of step `saved` is there, if not resumed."""
    return SOURCE.format(step=step, saved=saved)
