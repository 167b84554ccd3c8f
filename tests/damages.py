"""What can happen to a run's directory: each function does one kind of damage, drawn at random, and says what it did.

A damage is a function of a number and of the names in the directory, so that it can be done again to a copy.
Where a kind finds nothing to damage it returns None, and another one is drawn.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from odd_content import ODD_VALUES, odd_json, odd_toml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    Damage = Callable[[Random, "Scene"], str | None]

HUGE = 1 << 40  # bytes of a file that takes no room on the disk
DEVICES = ("/dev/zero", "/dev/null", "/dev/urandom", "/dev/full", "/proc/self/mem", "/dev/stdin")
NAMES = (
    *("step-000000099", "step-000000012", "step-8", "step-", "step-x", "step-000000016-due", "step-000000008", "old"),
    *("step--00000001", "step-\u0668", f"step-{'9' * 200}", ".step-000000016.1.partial"),
)
CONFIG_EDITS = (
    *("seed = 1", "seed = -1", "epochs = 5", "epochs = 1", 'epochs = "none"', "epochs = 1e400", "batch_size = 16"),
    *(
        "microbatches = 2",
        "latent_size = 3",
        "learning_rate = 0.01",
        "ema = 0.5",
        "threads = 2",
        'precision = "float16"',
    ),
    *(
        'name = "../../outside/x"',
        'init_from = "/dev/zero"',
        "seed = 0\nseed = 0",
        "verify_every_steps = 7",
        "unknown = 1",
    ),
    *("hidden = [16]", "keep = 1", "keep = 0", "every_steps = 5", "level = 0.3", "rho = 0.8", "samples = 2"),
    *('path = "/dev/zero"', 'path = "."', 'path = "../outside/fifo"', 'path = "../outside/victim.txt"', 'path = ""'),
)


@dataclass(frozen=True)
class Scene:
    """Where a damage is done.

    Attributes:
        run: the directory that is damaged.
        other: the directory of a run of another seed, to take files from.
        outside: what links may point to; nobody may change it.
    """

    run: Path
    other: Path
    outside: Path

    def files(self, *suffixes: str) -> list[Path]:
        """Return the regular files of the run, in order, whose names end so."""
        return [path for path in self._paths() if stat.S_ISREG(path.lstat().st_mode) and path.name.endswith(suffixes)]

    def folders(self) -> list[Path]:
        """Return the folders of the run, in order."""
        return [path for path in self._paths() if stat.S_ISDIR(path.lstat().st_mode)]

    def checkpoints(self) -> list[Path]:
        """Return the folders of checkpoints, oldest first."""
        return [path for path in self.folders() if path.parent == self.run / "checkpoints" and path.name[:5] == "step-"]

    def short(self, path: Path) -> str:
        """Return a path without where the run is."""
        return str(path.relative_to(self.run))

    def _paths(self) -> list[Path]:
        found = []
        for folder, folders, files in os.walk(self.run):
            found += [self.run.__class__(folder) / name for name in (*folders, *files)]
        return sorted(found)


def do_damage(drawn: Random, scene: Scene) -> str:
    """Do one damage, or two at once, and return in words what was done."""
    wanted, done = 1 if drawn.random() < 0.75 else 2, []
    while len(done) < wanted:
        said = drawn.choice(DAMAGES)(drawn, scene)
        if said is not None:
            done.append(said)
    return "; ".join(done)


def _one(drawn: Random, paths: list[Path]) -> Path | None:
    """Choose a path; the files of checkpoints are many, so draw the name first."""
    names = sorted({path.name for path in paths})
    name = drawn.choice(names) if names else None
    return drawn.choice([path for path in paths if path.name == name]) if names else None


def flip(drawn: Random, scene: Scene) -> str | None:
    """Flip some bytes."""
    path = _one(drawn, scene.files())
    content = bytearray(path.read_bytes()) if path and path.stat().st_size < 1 << 24 else b""
    if not content:
        return None
    count = drawn.choice([1, 1, 2, 20])
    for _ in range(count):
        content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    path.write_bytes(content)
    return f"{count} bits flipped in {scene.short(path)}"


def cut(drawn: Random, scene: Scene) -> str | None:
    """Cut a file, mostly in the middle."""
    path = _one(drawn, scene.files())
    if path is None:
        return None
    size = path.stat().st_size
    length = drawn.choice([0, 0, 1, max(size - 1, 0), drawn.randrange(size + 1), drawn.randrange(size + 1)])
    os.truncate(path, length)
    return f"{scene.short(path)} cut from {size} to {length} bytes"


def append(drawn: Random, scene: Scene) -> str | None:
    """Write something behind a file's end, or make it huge."""
    path = _one(drawn, scene.files())
    if path is None:
        return None
    what = drawn.choice(["itself", "zeros", "text", "huge"])
    if what == "huge":
        os.truncate(path, HUGE)
    else:
        more = {"itself": path.read_bytes(), "zeros": bytes(5000), "text": b'\n{"step": 3, "epoch"'}[what]
        with path.open("ab") as file:
            file.write(more)
    return f"{what} appended to {scene.short(path)}"


def remove(drawn: Random, scene: Scene) -> str | None:
    """Remove a file."""
    path = _one(drawn, scene.files())
    if path is None:
        return None
    path.unlink()
    return f"{scene.short(path)} removed"


def remove_folder(drawn: Random, scene: Scene) -> str | None:
    """Remove a folder, or all of some files."""
    path = _one(drawn, scene.folders())
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
            _clear(scene.run / name)
    return f"all removed but {', '.join(sorted(kept))}"


def rename(drawn: Random, scene: Scene) -> str | None:
    """Rename a checkpoint or another folder."""
    path = _one(drawn, scene.checkpoints() if drawn.random() < 0.8 else scene.folders())
    name = drawn.choice(NAMES)
    if path is None or (path.parent / name).exists():
        return None
    was = scene.short(path)
    path.rename(path.parent / name)
    return f"{was} renamed to {name[:40]}"


def swap(drawn: Random, scene: Scene) -> str | None:
    """Take the content of a file from another checkpoint or the other run."""
    path = _one(drawn, scene.files())
    if path is None:
        return None
    beside = [other for other in scene.files(path.name) if other != path]
    there = scene.other / scene.short(path)
    source = drawn.choice(beside) if beside and drawn.random() < 0.5 else there
    if not source.is_file():
        return None
    where = scene.short(source) if source in beside else "the other run's"
    shutil.copyfile(source, path)
    return f"{scene.short(path)} is a copy of {where}"


def swap_folder(drawn: Random, scene: Scene) -> str | None:
    """Take a folder from another checkpoint or the other run."""
    path = _one(drawn, scene.folders())
    if path is None:
        return None
    beside = [other for other in scene.checkpoints() if other != path] if path in scene.checkpoints() else []
    source = drawn.choice(beside) if beside and drawn.random() < 0.5 else scene.other / scene.short(path)
    if not source.is_dir():
        return None
    where = scene.short(source) if source in beside else "the other run's"
    shutil.rmtree(path)
    shutil.copytree(source, path)
    return f"{scene.short(path)} is a copy of {where}"


def link(drawn: Random, scene: Scene) -> str | None:
    """Put a symbolic link in a file's or a folder's place."""
    path = _one(drawn, [*scene.files(), *scene.folders()])
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
    _clear(path)
    path.symlink_to(target)
    return f"{scene.short(path)} is a link to {target.replace(str(scene.outside), 'OUTSIDE')}"


def moved_outside(drawn: Random, scene: Scene) -> str | None:
    """Move a file or folder out and leave a link to it."""
    path = _one(drawn, [*scene.files(), *scene.folders()])
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
    path = _one(drawn, [*scene.files(), *scene.folders()])
    if path is None:
        return None
    kind = drawn.choice(["empty folder", "full folder", "FIFO", "socket", "file"])
    _clear(path)
    _make(path, kind)
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
    _make(path, kind, scene.outside / "checkpoints")
    return f"{scene.short(path)[:60]!r} added, a {kind}"


def strange_content(drawn: Random, scene: Scene) -> str | None:
    """Write a file anew: JSON or TOML that is huge, deep, or of the wrong types."""
    path = _one(drawn, scene.files(".json", ".jsonl", ".toml"))
    if path is None:
        return None
    said, content = (odd_toml if path.suffix == ".toml" else odd_json)(drawn)
    if path.suffix == ".jsonl" and drawn.random() < 0.5:
        content = path.read_bytes() + content + b"\n"
    path.write_bytes(content)
    return f"{scene.short(path)} holds {said}"


def strange_value(drawn: Random, scene: Scene) -> str | None:
    """Give one key of a JSON object another value, or take it away."""
    path = _one(drawn, scene.files(".json"))
    return None if path is None else _edit_json(drawn, scene, path)


def edited_config(drawn: Random, scene: Scene) -> str | None:
    """Change a key of a config."""
    path = _one(drawn, scene.files("config.toml"))
    edit = drawn.choice(CONFIG_EDITS)
    key = edit.partition(" = ")[0]
    lines = path.read_text(errors="replace").splitlines() if path and path.stat().st_size < 1 << 20 else []
    places = [number for number, line in enumerate(lines) if line.startswith(f"{key} = ") and not line.endswith("[")]
    if key == "unknown":
        places, lines = [0], ["", *lines]
    if path is None or not places:
        return None
    lines[places[0]] = edit.replace("../outside", str(scene.outside))
    path.write_text("\n".join(lines) + "\n")
    return f"{scene.short(path)} says {edit!r}"


def signed_again(drawn: Random, scene: Scene) -> str | None:
    """Damage one file of a checkpoint, and write its checksum into the manifest."""
    path = _one(drawn, [folder for folder in scene.checkpoints() if (folder / "manifest.json").is_file()])
    names = (
        sorted(each.name for each in path.iterdir() if each.is_file() and each.name != "manifest.json") if path else []
    )
    if not names:
        return None
    target = path / drawn.choice([*names, "progress.json", "progress.json"])
    if not target.is_file() or target.stat().st_size in (0, HUGE):
        return None
    said = _edit_json(drawn, scene, target) if target.suffix == ".json" else _flip_or_cut(drawn, scene, target)
    if said is None or not target.is_file():
        return None
    _sign(path / "manifest.json", {target.name: hashlib.sha256(target.read_bytes()).hexdigest()})
    return f"{said}, and its checksum with it"


def strange_manifest(drawn: Random, scene: Scene) -> str | None:
    """Have a manifest name too few files, or others."""
    path = _one(drawn, [folder / "manifest.json" for folder in scene.checkpoints()])
    if path is None or not path.is_file() or path.stat().st_size in (0, HUGE):
        return None
    few = drawn.random() < 0.4
    odd = ["/dev/zero", "../../config.toml", "../../../outside/fifo", ".", "", "\0", "x" * 5000, "/etc/passwd", "fifo"]
    name = drawn.choice(["state.index", "config.toml", "state.data-00000-of-00001", "progress.json"] if few else odd)
    if name == "fifo" and not (path.parent / "fifo").exists():
        os.mkfifo(path.parent / "fifo")
    digest = None if few else drawn.choice(["0" * 64, hashlib.sha256(b"").hexdigest(), 7, None, ["x"]])
    return (
        f"{scene.short(path)} {'lacks' if few else 'names'} {name[:30]!r}" if _sign(path, {name: digest}, few) else None
    )


def forbidden(drawn: Random, scene: Scene) -> str | None:
    """Take permissions away; the superuser has them all the same."""
    path = _one(drawn, [*scene.files(), *scene.folders()])
    if path is None or os.geteuid() == 0:
        return None
    path.chmod(drawn.choice([0, 0o400, 0o200]))
    return f"{scene.short(path)} has mode {path.stat().st_mode & 0o777:o}"


DAMAGES: tuple[Damage, ...] = (
    *(flip, cut, append, remove, remove_folder, only_some_left, rename, swap, swap_folder),
    *(link, link, moved_outside, other_kind, stray, strange_content, strange_value, edited_config),
    *(signed_again, signed_again, strange_manifest, forbidden),
)


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _make(path: Path, kind: str, outside: Path | None = None) -> None:
    if kind.endswith("folder"):
        path.mkdir()
        if kind == "full folder":
            (path / "something.json").write_text("{}")
    elif kind.startswith("link"):
        path.symlink_to(outside if kind == "link out" else path.name)
    elif kind == "file":
        path.write_text("something")
    else:
        os.mknod(path, (stat.S_IFIFO if kind == "FIFO" else stat.S_IFSOCK) | 0o600)


def _flip_or_cut(drawn: Random, scene: Scene, path: Path) -> str:
    content = bytearray(path.read_bytes())
    if drawn.random() < 0.5:
        content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
        path.write_bytes(content)
        return f"a bit flipped in {scene.short(path)}"
    path.write_bytes(content[: drawn.randrange(len(content))])
    return f"{scene.short(path)} cut to {path.stat().st_size} bytes"


def _edit_json(drawn: Random, scene: Scene, path: Path) -> str | None:
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    if not isinstance(tree, dict) or not tree:
        return None
    within, name = tree, ""
    if drawn.random() < 0.3:  # one floor below
        inner = sorted(key for key, value in tree.items() if isinstance(value, dict) and value)
        name = drawn.choice(inner) if inner else ""
        within = tree[name] if name else tree
    key = drawn.choice(sorted(within))
    mark = "@@" * 8
    value = drawn.choice(ODD_VALUES)
    if value is None:
        del within[key]
    else:
        within[key] = mark
    path.write_text(json.dumps(tree).replace(f'"{mark}"', value or ""))
    return f"{scene.short(path)}: {name and name + '.'}{key} is {(value or 'gone')[:30]}"


def _sign(manifest: Path, entries: dict[str, object], few: bool = False) -> bool:
    try:
        tree = json.loads(manifest.read_bytes())
        for name, digest in entries.items():
            if few:
                del tree["sha256"][name]
            else:
                tree["sha256"][name] = digest
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    manifest.write_text(json.dumps(tree))
    return True
