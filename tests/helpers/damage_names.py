"""Damage to names: what is gone, renamed, swapped, or something else than it was."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from helpers.damage_scene import clear, is_small, make, one

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from helpers.damage_scene import Scene

DEVICES = ("/dev/zero", "/dev/null", "/dev/urandom", "/dev/full", "/proc/self/mem", "/dev/stdin")
NAMES = (
    *("step-000000099", "step-000000012", "step-8", "step-", "step-x", "step-000000016-due", "step-000000008", "old"),
    *("step--00000001", "step-\u0668", f"step-{'9' * 200}", ".step-000000016.1.partial"),
)
NAMES = (
    *("step-000000099", "step-000000012", "step-8", "step-", "step-x", "step-000000016-due", "step-000000008", "old"),
    *("step--00000001", "step-\u0668", f"step-{'9' * 200}", ".step-000000016.1.partial"),
)


def remove(drawn: Random, scene: Scene) -> str | None:
    """Remove a file."""
    path = one(drawn, scene.files())
    if path is None:
        return None
    path.unlink()
    return f"{scene.short(path)} removed"


def remove_folder(drawn: Random, scene: Scene) -> str | None:
    """Remove a folder, or all of some files."""
    path = one(drawn, scene.folders())
    if path is None:
        return None
    shutil.rmtree(path)
    if drawn.random() < 0.3:
        (scene.run / "metrics.jsonl").unlink(missing_ok=True)
        return f"{scene.short(path)} and metrics.jsonl removed"
    return f"{scene.short(path)} removed"


def only_some_left(drawn: Random, scene: Scene) -> str | None:
    """Remove all but one or two entries of the run's directory."""
    entries = sorted(path.name for path in scene.run.iterdir())
    kept = drawn.sample(entries, min(len(entries), drawn.choice([1, 2, 2, 3])))
    for name in entries:
        if name not in kept:
            clear(scene.run / name)
    return f"all removed but {', '.join(sorted(kept))}"


def rename(drawn: Random, scene: Scene) -> str | None:
    """Rename a checkpoint or another folder."""
    path = one(drawn, scene.checkpoints() if drawn.random() < 0.8 else scene.folders())
    name = drawn.choice(NAMES)
    if path is None or (path.parent / name).exists():
        return None
    was = scene.short(path)
    path.rename(path.parent / name)
    return f"{was} renamed to {name[:40]}"


def swap(drawn: Random, scene: Scene) -> str | None:
    """Take the content of a file from another checkpoint or the other run."""
    path = one(drawn, scene.files())
    if path is None:
        return None
    beside = [other for other in scene.files(path.name) if other != path]
    there = scene.other / scene.short(path)
    source = drawn.choice(beside) if beside and drawn.random() < 0.5 else there
    if not source.is_file() or not is_small(source):
        return None
    where = scene.short(source) if source in beside else "the other run's"
    shutil.copyfile(source, path)
    return f"{scene.short(path)} is a copy of {where}"


def swap_folder(drawn: Random, scene: Scene) -> str | None:
    """Take a folder from another checkpoint or the other run."""
    path = one(drawn, scene.folders())
    if path is None:
        return None
    beside = [other for other in scene.checkpoints() if other != path] if path in scene.checkpoints() else []
    source = drawn.choice(beside) if beside and drawn.random() < 0.5 else scene.other / scene.short(path)
    if not source.is_dir() or not _is_ordinary(source):
        return None
    where = scene.short(source) if source in beside else "the other run's"
    shutil.rmtree(path)
    shutil.copytree(source, path)
    return f"{scene.short(path)} is a copy of {where}"


def link(drawn: Random, scene: Scene) -> str | None:
    """Put a symbolic link in a file's or a folder's place."""
    path = one(drawn, [*scene.files(), *scene.folders()])
    if path is None:
        return None
    targets = [str(scene.outside / scene.short(path))] * 3  # the same there, or dangling
    targets += [
        path.name,
        f"../{path.parent.name}",
        "no-such-file",
        str(scene.outside),
        str(scene.outside / "victim.txt"),
    ]
    targets += [str(scene.outside / "fifo"), *DEVICES]
    target = drawn.choice(targets)
    clear(path)
    path.symlink_to(target)
    return f"{scene.short(path)} is a link to {target.replace(str(scene.outside), 'OUTSIDE')}"


def moved_outside(drawn: Random, scene: Scene) -> str | None:
    """Move a file or folder out and leave a link to it."""
    path = one(drawn, [*scene.files(), *scene.folders()])
    if path is None:
        return None
    there = scene.outside / "moved" / path.name
    there.parent.mkdir(exist_ok=True)
    if there.exists():
        return None
    path.rename(there)
    path.symlink_to(there)
    return f"{scene.short(path)} moved outside, with a link to it"


def other_kind(drawn: Random, scene: Scene) -> str | None:
    """Put a folder, a FIFO or a socket in a file's place, or those and a file in a folder's."""
    path = one(drawn, [*scene.files(), *scene.folders()])
    if path is None:
        return None
    kind = drawn.choice(["empty folder", "full folder", "FIFO", "socket", "file"])
    clear(path)
    make(path, kind)
    return f"{scene.short(path)} is now a {kind}"


def stray(drawn: Random, scene: Scene) -> str | None:
    """Add something that no run makes."""
    checkpoints = scene.run / "checkpoints"
    folder = checkpoints if checkpoints.is_dir() and drawn.random() < 0.7 else scene.run
    names = ["step-000000099", "step-000000016-due", "step-x", ".step-000000099.1.partial", ".config.toml.1.partial"]
    path = folder / drawn.choice([*names, "environment-000000008.json", "init.json", "\udcff\udcfe", "a\nb", "é" * 100])
    kind = drawn.choice(["empty folder", "full folder", "FIFO", "socket", "file", "link out", "link to itself"])
    if os.path.lexists(path):
        return None
    make(path, kind, scene.outside / "checkpoints")
    return f"{scene.short(path)[:60]!r} added, a {kind}"


def forbidden(drawn: Random, scene: Scene) -> str | None:
    """Take permissions away; the superuser has them all the same."""
    path = one(drawn, [*scene.files(), *scene.folders()])
    if path is None or os.geteuid() == 0:
        return None
    path.chmod(drawn.choice([0, 0o400, 0o200]))
    return f"{scene.short(path)} has mode {path.stat().st_mode & 0o777:o}"


def _is_ordinary(folder: Path) -> bool:
    """Say whether a folder can be copied: it holds small files and folders alone."""
    return all(is_small(path) or (path.is_dir() and not path.is_symlink()) for path in folder.rglob("*"))
