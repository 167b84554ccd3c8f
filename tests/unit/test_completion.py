"""What the shell completes: by click's protocols of bash, zsh and fish."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vaeflow.cli import main


@pytest.fixture
def completed(monkeypatch, capsys):
    """Return what a shell would show after the words; the last one is being written."""

    def complete(*words: str, shell: str = "bash") -> list[str]:
        monkeypatch.setenv("_VAEFLOW_COMPLETE", f"{shell}_complete")
        monkeypatch.setenv("COMP_WORDS", " ".join(("vaeflow", *words)))
        monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words)))
        main([])
        lines = capsys.readouterr().out.splitlines()
        if shell == "zsh":
            return lines[1::3]
        return [line.partition(",")[2].partition("\t")[0] for line in lines if line]

    return complete


TRAIN = ("train", "mnist-2d")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "mnist-m"), ["mnist-mlp-20"]),
        ((*TRAIN, "lat"), ["latent_size="]),
        ((*TRAIN, "batch"), ["batch_size="]),
        ((*TRAIN, "nonfinite."), ["nonfinite.action=", "nonfinite.stop_after="]),
        ((*TRAIN, "nonfinite.a"), [f"nonfinite.action={word}" for word in ("skip", "stop", "rollback")]),
        ((*TRAIN, "log.g"), ["log.graph=true", "log.graph=false"]),
        ((*TRAIN, "encoder.w"), ["encoder.width="]),
        ((*TRAIN, "encoder=mlp", "encoder.h"), ["encoder.hidden="]),
        ((*TRAIN, "encoder", "=", "mlp", "encoder.h"), ["encoder.hidden="]),  # as bash splits it
        ((*TRAIN, "posterior", "=", "diag"), ["diagonal-gaussian"]),
        ((*TRAIN, "--strategy", "mi"), ["mirrored"]),
        (("launch", "slurm", "mnist-2d", "lat"), ["latent_size="]),
        (("plugins", "show", "lik"), ["likelihood"]),
        (("plugins", "show", "likelihood", "bern"), ["bernoulli"]),
        ((*TRAIN, "encoderr.w"), []),
        (("train", "no-such-recipe", "encoder.w"), []),
    ],
)
def test_words_are_completed(words, expected, completed):
    assert completed(*words) == expected


def test_a_component_is_completed_in_every_shell(completed):
    names = completed(*TRAIN, "encoder", "=")
    assert {"conv-mnist", "mlp"} <= set(names)
    for shell in ("zsh", "fish"):
        assert completed(*TRAIN, "encoder=", shell=shell) == [f"encoder={name}" for name in names]
    assert completed(*TRAIN, "enco") == [f"encoder={name}" for name in names]


def test_runs_are_completed_and_other_directories_are_not(completed, tmp_path, monkeypatch):
    for name in ("runs/first", "runs/second", "other/deep/third", "here"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.toml").touch()
    (tmp_path / "runs" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert completed("evaluate", "r") == ["runs/first", "runs/second"]
    assert completed("plot", "runs/s") == ["runs/second"]
    assert completed("resume", "h") == ["here"]
    assert completed(*TRAIN, "--init-from", f"{tmp_path}/runs/f") == [f"{tmp_path}/runs/first"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell, monkeypatch, capsys):
    monkeypatch.setenv("_VAEFLOW_COMPLETE", f"{shell}_source")
    main([])
    assert "_VAEFLOW_COMPLETE" in capsys.readouterr().out


def test_completion_needs_no_tensorflow():
    code = (
        "import os, sys; os.environ.update(_VAEFLOW_COMPLETE='bash_complete', COMP_WORDS='vaeflow train mnist-2d enc', "
        "COMP_CWORD='3'); from vaeflow.cli import main; main([]); sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "encoder=mlp" in done.stdout
