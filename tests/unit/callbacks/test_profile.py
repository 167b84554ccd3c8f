"""`--profile`: the steps that are profiled, and that nothing else changes."""

import json
from dataclasses import replace

import pytest
from helpers.small_runs import on, vaeflow, write_digits

from vaeflow.callbacks.profile import Profile


@pytest.mark.slow
def test_a_profiled_run_has_the_same_bits(tmp_path, mnist_content):
    data = write_digits(tmp_path / "digits.npz", mnist_content)
    settings = on(data, "steps=30", "microbatches=2", "strategy=mirrored", "strategy.replicas=2")
    said = {}
    for name, options in (("plain", []), ("profiled", ["--profile", "4"])):
        ended = vaeflow("train", "mnist-2d", "--run-dir", tmp_path / name, *options, *settings)
        assert ended.returncode == 0, ended.stderr
        said[name] = ended.stdout + ended.stderr
    plain, profiled = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("plain", "profiled"))
    assert profiled["state_sha256"] == plain["state_sha256"]
    assert (tmp_path / "profiled" / "config.toml").read_bytes() == (tmp_path / "plain" / "config.toml").read_bytes()
    (line,) = [line for line in said["profiled"].splitlines() if "profiled steps" in line]
    assert "profiled steps 21 to 24; to see them: " in line
    assert f"tensorboard --logdir {tmp_path / 'profiled'}" in line
    assert steps_in(tmp_path / "profiled" / "tensorboard") == [21, 22, 23, 24]


def steps_in(folder):
    """The numbers of the steps that are marked in a profile, where the Profile plugin looks for it."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (path,) = (folder / "plugins" / "profile").glob("*/*.xplane.pb")
    steps = []
    for plane in xplane_pb2.XSpace.FromString(path.read_bytes()).planes:
        events = [event for line in plane.lines for event in line.events]
        for event in (event for event in events if plane.event_metadata[event.metadata_id].name == "train"):
            stats = {plane.stat_metadata[stat.metadata_id].name: stat for stat in event.stats}
            steps.append(stats["step_num"].int64_value or stats["step_num"].uint64_value)
    return sorted(steps)


def test_a_run_that_is_too_short_says_so(view, said):
    short = replace(view, total_steps=25)
    profile = Profile(10)
    profile.on_start(short)
    for step in range(1, 26):
        short.control.step = step
        profile.on_steps(short, step)
    profile.on_end(short)
    assert said == [
        "warning: --profile 10 needs 30 steps, 20 of them to warm up, but 25 are left: there will be no profile"
    ]
    assert list(view.directory.iterdir()) == []


def test_the_warm_up_ends_where_the_profile_starts(view):
    long = replace(view, first_step=7, total_steps=100)
    profile = Profile(2)
    profile.on_start(long)
    assert long.control.most_steps == 20
    profile.on_steps(long, 19)  # another event ended the execution early
    assert long.control.most_steps == 8


@pytest.mark.parametrize("steps", ["0", "-3", "ten"])
def test_a_bad_number_is_one_line(steps):
    ended = vaeflow("train", "mnist-2d", "--profile", steps)
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "'--profile'" in ended.stderr
