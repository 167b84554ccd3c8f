"""The notebook of the docs runs in a real kernel, with the bits of the command."""

from __future__ import annotations

import nbformat
import pytest
from helpers.jobs import summary_of
from helpers.paths import ROOT
from helpers.small_runs import vaeflow
from nbclient import NotebookClient

NOTEBOOK = ROOT / "docs" / "examples" / "first_hour.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    """The command is the one in its last cell."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in outputs if "data" in output]
    assert any("<img src=" in data.get("text/html", "") for data in shown)  # the run
    assert any("test/elbo" in data.get("text/html", "") for data in shown)  # its history, a table
    assert any("image/png" in data for data in shown)
    assert not [output for output in outputs if output.output_type == "error"]
    command = notebook.cells[-1].source.partition("$ vaeflow ")[2].partition("\n")[0].split()
    done = vaeflow(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    there, here = (summary_of(tmp_path / "runs" / name) for name in ("by-hand", "command"))
    assert there["state_sha256"] == here["state_sha256"]
