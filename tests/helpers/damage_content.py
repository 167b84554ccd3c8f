"""Damage to what files hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING

from helpers.damage_scene import is_small, one
from helpers.odd_content import ODD_VALUES, odd_json, odd_toml

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from helpers.damage_scene import Scene

HUGE = (1 << 24, 1 << 30, 1 << 40)  # bytes of files that take no room on the disk
MANY = 1 << 22  # bytes that no file has which is read here
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


def flip(drawn: Random, scene: Scene) -> str | None:
    """Flip some bytes."""
    path = one(drawn, scene.files())
    content = bytearray(path.read_bytes()) if path else b""
    if not content:
        return None
    count = drawn.choice([1, 1, 2, 20])
    for _ in range(count):
        content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    path.write_bytes(content)
    return f"{count} bits flipped in {scene.short(path)}"


def cut(drawn: Random, scene: Scene) -> str | None:
    """Cut a file, mostly in the middle."""
    path = one(drawn, scene.files())
    if path is None:
        return None
    size = path.stat().st_size
    length = drawn.choice([0, 0, 1, max(size - 1, 0), drawn.randrange(size + 1), drawn.randrange(size + 1)])
    os.truncate(path, length)
    return f"{scene.short(path)} cut from {size} to {length} bytes"


def append(drawn: Random, scene: Scene) -> str | None:
    """Write something behind a file's end, or make it huge."""
    path = one(drawn, scene.files())
    if path is None:
        return None
    what = drawn.choice(["itself", "zeros", "text", "huge"])
    if what == "huge":
        os.truncate(path, drawn.choice(HUGE))
    else:
        more = {
            "itself": path.read_bytes(),
            "zeros": bytes(5000),
            "text": b'\n{"step": 3, "epoch"',
        }[what]
        with path.open("ab") as file:
            file.write(more)
    return f"{what} appended to {scene.short(path)}"


def strange_content(drawn: Random, scene: Scene) -> str | None:
    """Write a file anew: JSON or TOML that is huge, deep, or of the wrong types."""
    path = one(drawn, scene.files(".json", ".jsonl", ".toml"))
    if path is None:
        return None
    said, content = (odd_toml if path.suffix == ".toml" else odd_json)(drawn)
    if path.suffix == ".jsonl" and drawn.random() < 0.5:
        content = path.read_bytes() + content + b"\n"
    path.write_bytes(content)
    return f"{scene.short(path)} holds {said}"


def strange_value(drawn: Random, scene: Scene) -> str | None:
    """Give one key of a JSON object another value, or take it away."""
    path = one(drawn, scene.files(".json"))
    return None if path is None else _edit_json(drawn, scene, path)


def edited_config(drawn: Random, scene: Scene) -> str | None:
    """Change a key of a config."""
    path = one(drawn, scene.files("config.toml"))
    return None if path is None else _edit_config(drawn, scene, path)


def signed_again(drawn: Random, scene: Scene) -> str | None:
    """Damage one file of a checkpoint, and write its checksum into the manifest."""
    path = _folder(drawn, scene)
    names = (
        sorted(each.name for each in path.iterdir() if each.is_file() and each.name != "manifest.json") if path else []
    )
    if not names:
        return None
    target = path / drawn.choice([*names, "progress.json", "progress.json"])
    if not _is_there(target):
        return None
    edit = {".json": _edit_json, ".toml": _edit_config}.get(target.suffix, _flip_or_cut)
    said = edit(drawn, scene, target)
    if said is None or not _is_there(path / "manifest.json"):
        return None
    _sign(path / "manifest.json", {target.name: hashlib.sha256(target.read_bytes()).hexdigest()})
    return f"{said}, and its checksum with it"


def strange_manifest(drawn: Random, scene: Scene) -> str | None:
    """Have a manifest name too few files, or others."""
    folder = _folder(drawn, scene)
    path = folder / "manifest.json" if folder else None
    if path is None or not _is_there(path):
        return None
    few = drawn.random() < 0.4
    odd = ["/dev/zero", "../../config.toml", "../../../outside/fifo", ".", "", "\0", "x" * 5000, "/etc/passwd", "fifo"]
    name = drawn.choice(["state.safetensors", "config.toml", "progress.json"] if few else odd)
    if name == "fifo" and not (path.parent / "fifo").exists():
        os.mkfifo(path.parent / "fifo")
    digest = None if few else drawn.choice(["0" * 64, hashlib.sha256(b"").hexdigest(), 7, None, ["x"]])
    return (
        f"{scene.short(path)} {'lacks' if few else 'names'} {name[:30]!r}" if _sign(path, {name: digest}, few) else None
    )


def _folder(drawn: Random, scene: Scene) -> Path | None:
    """Choose a checkpoint that has a manifest."""
    manifest = one(drawn, [path for path in scene.files("manifest.json") if path.parent in scene.checkpoints()])
    return manifest.parent if manifest else None


def _flip_or_cut(drawn: Random, scene: Scene, path: Path) -> str:
    content = bytearray(path.read_bytes())
    if drawn.random() < 0.5:
        content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
        path.write_bytes(content)
        return f"a bit flipped in {scene.short(path)}"
    path.write_bytes(content[: drawn.randrange(len(content))])
    return f"{scene.short(path)} cut to {path.stat().st_size} bytes"


def _edit_config(drawn: Random, scene: Scene, path: Path) -> str | None:
    edit = drawn.choice(CONFIG_EDITS)
    key = edit.partition(" = ")[0]
    lines = path.read_text(errors="replace").splitlines()
    places = [number for number, line in enumerate(lines) if line.startswith(f"{key} = ") and not line.endswith("[")]
    if key == "unknown":
        places, lines = [0], ["", *lines]
    if not places:
        return None
    lines[places[0]] = edit.replace("../outside", str(scene.outside))
    path.write_text("\n".join(lines) + "\n")
    return f"{scene.short(path)} says {edit!r}"


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
    """Have a manifest list files with these checksums and the sizes that they have, or no more if `few`."""
    try:
        tree = json.loads(manifest.read_bytes())
        for name, digest in entries.items():
            if few:
                del tree["sha256"][name]
            else:
                tree["sha256"][name] = digest
            sizes = tree.get("bytes", {})
            sizes.pop(name, None)
            if not few and "bytes" in tree:
                sizes[name] = _size(manifest.parent / name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    manifest.write_text(json.dumps(tree))
    return True


def _size(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return path.stat().st_size
    return 0


def _is_there(path: Path) -> bool:
    """Say whether a name is that of a small file that is not empty."""
    return os.path.lexists(path) and is_small(path) and path.stat().st_size > 0
