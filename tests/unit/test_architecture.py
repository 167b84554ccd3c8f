"""The rules of docs/architecture.md: imports point down, files are short, TensorFlow comes late."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import pytest
from helpers.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = ROOT / "vaeflow"
LONGEST_FILE = 300
ROW = re.compile(r"\| (`[^|]+`) \| [^|]+ \|")


def floors() -> dict[str, int]:
    """Return the floor of each module of the table, 0 at the bottom."""
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Floors")[2].partition("\n## ")[0]
    rows = [re.findall(r"`([\w.]+)`", found[1]) for found in ROW.finditer(table)]
    return {module: len(rows) - number for number, row in enumerate(rows, start=1) for module in row}


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Return the package's modules that a file imports anywhere, for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.partition(".")[0] == "vaeflow")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module and node.module.partition(".")[0] == "vaeflow":
                below = (f"{node.module}.{alias.name}" for alias in node.names)
                found.update(name if name in known else node.module for name in below)
    return found


def row_of(module: str, table: dict[str, int]) -> str:
    """Return the table's name for a module: that of its package, or its own."""
    name = module.split(".")[1] if "." in module else module
    assert name in table, f"{module} is in no row of docs/architecture.md"
    return name


def edges() -> set[tuple[str, str]]:
    """Return which name of the table imports which."""
    known, table = modules(), floors()
    return {
        (row_of(module, table), row_of(imported, table))
        for module, path in known.items()
        for imported in imports(path, known)
    }


def test_the_table_names_every_module_and_nothing_else():
    used = {row_of(module, floors()) for module in modules()}
    assert used == set(floors())


def test_imports_point_to_lower_floors():
    table = floors()
    upward = {(one, other) for one, other in edges() if one != other and table[one] <= table[other]}
    assert not upward


def test_the_picture_is_that_of_the_table(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    drawing = importlib.import_module("draw_floors")
    assert doctest.testmod(drawing).attempted
    assert doctest.testmod(drawing).failed == 0
    rows = drawing.floors((ROOT / "docs" / "architecture.md").read_text())
    assert {name for names, _ in rows for name in names.split(", ")} == set(floors())
    assert drawing.PICTURE.read_text() == drawing.draw(rows), "run docs/draw_floors.py again"


def test_the_way_to_the_first_step_is_counted():
    page = (ROOT / "docs" / "architecture.md").read_text()
    part = page.partition("## From the command to the first step")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[-1] for line in part.splitlines() if line.startswith("| ")][1:]
    way = [module for row in rows for module in re.findall(r"`([\w.]+)`", row)]
    assert {f"vaeflow.{module}" for module in way} <= set(modules())
    stays = [name for name, _ in groupby(module.partition(".")[0] for module in way)]
    table = floors()
    climbs = sum(table[upper] > table[lower] for lower, upper in pairwise(stays))
    counted = (len(set(way)), len(set(stays)), len(stays), climbs)
    found = re.search(r"(\d+) modules of (\d+) packages, in (\d+) stays with (\d+) climbs", part)
    assert tuple(map(int, found.groups())) == counted


def test_nothing_imports_the_front():
    assert not [edge for edge in edges() if edge[1] == "vaeflow" and edge[0] != edge[1]]


@pytest.mark.parametrize("depth", [2, 3, 9])  # packages, their subpackages, modules
def test_there_are_no_circles(depth):
    known = modules()
    within = {module: ".".join(module.split(".")[:depth]) for module in known}
    graph = {name: set() for name in within.values()}
    for module, path in known.items():
        graph[within[module]] |= {within[other] for other in imports(path, known)} - {within[module], "vaeflow"}
    assert TopologicalSorter(graph).prepare() is None


def public_modules() -> set[str]:
    """Return the modules that docs/plugins.md lists for plugins."""
    text = (ROOT / "docs" / "plugins.md").read_text()
    return set(re.findall(r"`(vaeflow[\w.]*)`", text.partition("A plugin imports")[2].partition("\n\n")[0]))


def test_plugins_import_public_modules_alone():
    """The plugins of this repository, those of the pages, and what `plugins new` writes."""
    public, known = public_modules(), modules()
    written = (PACKAGE / "plugin_kit" / "scaffold" / "templates").glob("*.py.in")
    shown = (ROOT / "docs" / "examples").glob("*.py")
    code = [path for path in (ROOT / "plugins").glob("*/vaeflow_*/**/*.py") if "tests" not in path.parts]
    used = {(path.name, module) for path in (*code, *written, *shown) for module in imports(path, known)}
    assert len(used) > 20
    assert not {(file, module) for file, module in used if module in known and module not in public}


def test_public_modules_are_documented():
    reference = (ROOT / "docs" / "reference" / "python.md").read_text()
    assert public_modules() <= set(modules())
    assert not [name for name in public_modules() - {"vaeflow"} if f":: {name}" not in reference]
    kinds = "".join(path.read_text() for path in (ROOT / "docs" / "kinds").glob("*.md"))
    named = {name.rpartition(".")[0] for name in re.findall(r"\b(vaeflow(?:\.\w+)*\.[A-Z]\w+)", kinds)}
    assert "vaeflow.distributed.strategies.base" in named
    assert not named - public_modules()


def private_names(path: Path) -> set[str]:
    """Return the names with an underscore that a file uses of other objects than its own, and its private imports."""
    found, own = set(), {"self", "cls"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and re.match(r"tensorflow\.python|keras\.src", str(node.module)):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in own):
            found.update(re.findall(r"^(?:__internal__|_[a-z]\w*)$", node.attr))
    return found


def test_private_interfaces_are_in_the_table():
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Private interfaces")[2].partition("\n## ")[0]
    code = "\n".join(path.read_text() for path in modules().values())
    documented = {"_exit", "_replace", "_asdict"}  # of os and of named tuples
    used = {(module, name) for module, path in modules().items() for name in private_names(path) - documented}
    foreign = {(module, name) for module, name in used if not re.search(rf"\bdef {name}\b", code)}
    assert ("vaeflow.engine.layer_state", "_flatten_layers") in foreign
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert not {
        (module, name)
        for module, name in foreign
        if not any(name in row and f"`{module.removeprefix('vaeflow.')}`" in row for row in rows)
    }


def test_the_top_is_small():
    packages = [path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()]
    files = [path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert len(packages) <= 15
    assert len(files) <= 6


def test_no_file_is_long():
    lengths = {path: len(path.read_text().splitlines()) for path in modules().values()}
    assert not {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST_FILE}


@pytest.mark.parametrize(
    "module",
    [
        "vaeflow",
        "vaeflow.cli",
        "vaeflow.config.schema",
        "vaeflow.components",
        "vaeflow.plugins.registry",
        "vaeflow.training.run",
    ],
)
def test_importing_brings_no_tensorflow(module):
    code = f"import sys, {module}; print(*sorted({{'tensorflow', 'keras', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_listing_components_brings_no_tensorflow():
    code = (
        "import sys; from vaeflow.plugins.registry import Registry; [r.options() for r in Registry.load().all()];"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
