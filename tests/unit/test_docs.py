"""The README and the docs: their code runs, their commands parse, the reference misses nothing, the pages build."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from helpers.paths import ROOT
from helpers.plugin_packages import without_packages
from helpers.small_runs import python

from vaeflow.callbacks import Callback, Control
from vaeflow.cli import main
from vaeflow.cli.app import app
from vaeflow.commands.search import ends_of
from vaeflow.commands.sweep import Sweep
from vaeflow.config.compose import compose
from vaeflow.config.recipes import recipes
from vaeflow.config.resolve import resolve
from vaeflow.config.schema import KINDS_OF_LISTS, KINDS_OF_SELECTIONS, Config, Section
from vaeflow.plugin_kit.scaffold import write_plugin
from vaeflow.plugins import hookspecs
from vaeflow.plugins.records import KINDS
from vaeflow.plugins.registry import Registry

DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
FOLDERS = ("*.md", "gallery/*.md", "kinds/*.md", "reference/*.md")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(page for one in FOLDERS for page in sorted(DOCS.glob(one)))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOCAL_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
TINY = ("steps=3", "dataset.train_examples=200", "dataset.test_examples=100")


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it.

    Attributes:
        page: the file.
        line: what is typed after `vaeflow`.
        output: what the page says it prints; empty where it says nothing.
    """

    page: str
    line: str
    output: str

    def __str__(self) -> str:
        return f"{self.page}: {self.line}"


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's fenced blocks in a language."""
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def commands() -> list[Shown]:
    """Return every `$ vaeflow ...` of the pages."""
    shown = []
    for page in PAGES:
        for block in blocks(page, "console"):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                line, _, output = part.partition("\n")
                if line.startswith("vaeflow"):
                    shown.append(Shown(page.name, line.removeprefix("vaeflow").strip(), output.strip()))
    return shown


def code_of(page: Path) -> str:
    """Return the Python blocks of a page that are no plugin and no doctest, one after the other."""
    return "\n".join(b for b in blocks(page, "python") if "hookimpl" not in b and ">>>" not in b)


def run_python(*arguments: str, cwd: Path) -> str:
    """Run Python in a process of its own and return what it printed."""
    done = subprocess.run([*python(), *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def text_of(pages: list[Path]) -> str:
    """Return all pages as one text."""
    return "\n".join(page.read_text() for page in pages)


def new_plugins() -> set[tuple[str, str]]:
    """Return (kind, name) of every plugin that a page begins."""
    lines = [one.line.split() for one in commands()]
    return {(words[2], words[3]) for words in lines if words[:2] == ["plugins", "new"]}


def write_metadata(package: Path) -> None:
    """Write the metadata of a package's folder that pip would write."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    info = package / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((name, module),) = project["entry-points"]["vaeflow"].items()
    (info / "entry_points.txt").write_text(f"[vaeflow]\n{name} = {module}\n")


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A folder with what the pages' commands name: examples, TOML files, plugins that are begun there."""
    folder = tmp_path_factory.mktemp("named")
    shutil.copytree(EXAMPLES, folder / "docs" / "examples")
    for page in PAGES:
        for block in blocks(page, "toml"):
            name = re.match(r"# (\w+\.toml)\n", block)
            if name:
                (folder / name[1]).write_text(block)
    for kind, name in sorted(new_plugins()):
        write_plugin(kind, name, folder)
    for package in installed_packages():
        write_metadata(folder / package)
    return folder


def installed_packages() -> list[str]:
    """Return the folders that the pages install with pip."""
    return re.findall(r"^\$ pip install -e (vaeflow-[\w-]+)$", text_of(PAGES), re.MULTILINE)


@pytest.fixture
def clone(named, tmp_path, monkeypatch):
    """A working directory with a copy of that folder, and what the pages install on the import path."""
    folder = shutil.copytree(named, tmp_path / "clone")
    for package in installed_packages():
        monkeypatch.syspath_prepend(str(folder / package))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def reference():
    """The generated fragments by name."""
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module("generate").pages()
    finally:
        sys.path.remove(str(DOCS))


# Code


def test_the_readme_shows_the_example_plugin():
    plugin = next(block for block in blocks(ROOT / "README.md", "python") if "hookimpl" in block)
    assert plugin == (EXAMPLES / "vaeflow_residual.py").read_text()
    assert len([line for line in plugin.splitlines() if line.strip()]) <= 15


@pytest.mark.slow
def test_the_plugins_of_the_docs_train(clone, mnist_folders):
    plugins = [f"--plugin={path}" for path in sorted(EXAMPLES.glob("*.py"))]
    encoder = ["encoder=joined", "encoder.first=residual", "encoder.first.depth=3", "encoder.others=[{scale=0.5}, {}]"]
    selected = [*encoder, "decoder=notebook", 'callbacks=["best"]']
    printed = run_python(
        "-m", "vaeflow", "train", "mnist-mlp-20", *TINY, *selected, *plugins, "--run-dir=run", cwd=clone
    )
    assert re.search(r"^best test/elbo: -\d+\.\d\d nats at epoch 1(\.5)?$", printed, re.MULTILINE)
    assert "depth = 3" in (clone / "run" / "config.toml").read_text()


@pytest.mark.slow
@pytest.mark.distributed
def test_the_runs_from_a_paper_to_a_plugin(clone):
    """As the page has them, with fewer and smaller digits and steps; the two last ones have the same bits."""
    path = "import sys; sys.path.insert(0, 'vaeflow-two-layers'); from vaeflow.cli import main; sys.exit(main())"
    few = ("dataset={name='digits', train_examples=41, test_examples=33}", "batch_size=24", "steps=4", "plots.draw=[]")
    shown = [one.line for one in commands() if one.page == "paper-to-plugin.md" and not one.output]
    trained = [shlex.split(line) for line in shown if line.startswith("train ")]
    assert len(trained) == 4
    for words in trained:
        run_python("-c", path, *words, *few, "log.tensorboard=false", cwd=clone)
    two = [json.loads((clone / words[-1] / "summary.json").read_text()) for words in trained[2:]]
    assert [one["replicas"] for one in two] == [1, 2]
    assert two[0]["weights_sha256"] == two[1]["weights_sha256"]


@pytest.mark.slow
def test_the_python_blocks_run(clone, mnist_folders):
    script = clone / "blocks.py"
    script.write_text("\n".join(code_of(page) for page in PAGES))
    printed = run_python(str(script), cwd=clone)
    assert "(8, 20)" in printed
    assert (clone / "runs" / "mnist-mlp-20" / "summary.json").exists()


@pytest.mark.parametrize("page", [page for page in PAGES if ">>>" in page.read_text()], ids=lambda page: page.name)
def test_the_sessions_are_true(page):
    for block in blocks(page, "python"):
        test = doctest.DocTestParser().get_doctest(block, {}, page.name, str(page), 0)
        failed, _ = doctest.DocTestRunner().run(test)
        assert not failed


def test_the_tools_of_the_docs_have_true_examples(reference):
    assert doctest.testmod(importlib.import_module("docstrings")).failed == 0
    assert doctest.testmod(importlib.import_module("docstrings")).attempted


def test_the_readme_counts_models_and_likelihoods():
    """With those of the packages of this repository, by the names that their sources register."""
    texts = [path.read_text() for path in (ROOT / "plugins").glob("*/vaeflow_*/__init__.py")]
    assert texts
    built_in = [one.component for one in Registry.load().all() if one.origin.distribution == "vaeflow"]
    names = {(one.kind, one.name) for one in built_in}
    names |= {found for text in texts for found in re.findall(r'Component\(\s*"(\w+)", "([\w-]+)"', text)}
    readme = (ROOT / "README.md").read_text()
    for kind, word in (("model", "models"), ("likelihood", "likelihoods")):
        (count,) = re.findall(rf"^\| {word} \| (\d+)", readme, re.MULTILINE)
        assert int(count) == sum(of_kind == kind for of_kind, _ in names)


def test_the_citation_has_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"version = {{{version}}}" in (ROOT / "README.md").read_text()


# Commands


@pytest.mark.parametrize("shown", [one for one in commands() if not one.output], ids=str)
def test_a_command_parses(shown, clone, monkeypatch):
    seen: list[click.Context] = []
    monkeypatch.setattr(click.Command, "invoke", lambda _, context: seen.append(context))
    app.main(args=shlex.split(shown.line), prog_name="vaeflow", standalone_mode=False)
    given = seen[-1].params if seen else {}
    if "recipe" in given:
        registry = Registry.load(given["modules"])
        settings = given["settings"]
        if "slurm" in given:  # a sweep: lists and ranges of values
            sweep = Sweep(given["recipe"], settings, given["out"])
            settings = (ends_of(sweep) if given["search"] else sweep.points())[0].settings
        composed = compose(given["recipe"], settings, registry.recipe)
        assert resolve(composed, registry).config.name


@pytest.mark.parametrize("shown", [one for one in commands() if one.output], ids=str)
def test_a_command_prints_what_the_page_says(shown, clone, capsys):
    words = shlex.split(shown.line)
    if words[:2] == ["plugins", "new"]:
        shutil.rmtree(f"vaeflow-{words[3]}")
    with without_packages():
        main(words)
    printed = "".join(capsys.readouterr())
    assert re.fullmatch(re.escape(shown.output).replace(r"\.\.\.", ".*"), printed.strip())


def test_the_pages_show_commands():
    names = {one.line.split()[0] for one in commands() if one.line}
    assert names >= set(app.commands)
    assert any(one.output for one in commands())


# The reference


def test_the_reference_has_every_component_option_and_kind(reference):
    assert all(f"| `{kind}` |" in reference["kinds.md"] for kind in KINDS)
    sections = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", reference["components.md"], re.MULTILINE | re.DOTALL))
    for registered in Registry.load().all():
        if registered.origin.distribution == "vaeflow":
            component = registered.component
            section = sections[f"{component.kind}: `{component.name}`"]
            assert all(f"| `{option.name}` |" in section for option in registered.options())


def test_every_option_in_a_docstring_is_described(reference):
    docstrings = importlib.import_module("docstrings")
    for registered in Registry.load().all():
        parsed = docstrings.parse(registered.doc)
        if registered.origin.distribution == "vaeflow" and "Args" in parsed.items:
            missing = [o.name for o in registered.options() if not parsed.described("Args", o.name)]
            assert not missing, registered.label


def test_the_reference_has_every_recipe(reference):
    assert all(f"## `{recipe.name}`" in reference["recipes.md"] for recipe in recipes())
    assert all(recipe.text.strip() in reference["recipes.md"] for recipe in recipes())


def test_the_reference_has_every_hook(reference):
    specified = [name for name, one in vars(hookspecs).items() if hasattr(one, f"{hookspecs.NAMESPACE}_spec")]
    assert specified
    assert all(f"## `{name}`" in reference["hooks.md"] for name in specified)


def test_the_reference_has_every_key_and_all_are_described(reference):
    found = set(re.findall(r"^\| `([\w.]+)` \|.* \S.* \|$", reference["config.md"], re.MULTILINE))
    assert found == set(keys(Config))


def keys(section, prefix=""):
    """Yield the dotted keys of a table of the config."""
    for name, field in section.model_fields.items():
        assert field.description, name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from keys(field.annotation, f"{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_page_with_example_and_commands(kind):
    page = DOCS / "kinds" / f"{kind}.md"
    text = page.read_text()
    assert f"`{KINDS[kind].signature}`" in text
    assert f"{{literalinclude}} ../../vaeflow/plugin_kit/scaffold/templates/{kind}.py.in" in text
    assert f"\nkinds/{kind}\n" in (DOCS / "plugins.md").read_text()
    assert {kind} == {of_kind for of_kind, name in new_plugins() if f" {of_kind} {name}\n" in text}
    assert {"plugins", "train"} <= {one.line.split()[0] for one in commands() if one.page == page.name}


# What is tested


def names_in_tests() -> dict[str, str]:
    """Return the text of every file of tests but this one."""
    files = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__)]
    return {path.name: path.read_text() for path in files}


def key_of(kind: str) -> str:
    """Return the config's key that selects components of a kind."""
    keys_by_kind = {of_kind: key for key, of_kind in (*KINDS_OF_SELECTIONS.items(), *KINDS_OF_LISTS.items())}
    return keys_by_kind[kind]


def test_every_kind_and_builtin_component_is_named_by_a_test():
    """A component is named in quotes, in a setting, or by its build function; or its test asks for all of the kind."""
    files, unnamed = names_in_tests(), []
    for component in [one.component for one in Registry.load().all() if one.origin.distribution == "vaeflow"]:
        kind, name = component.kind, re.escape(component.name)
        module, function = component.build.__module__.rpartition(".")[2], component.build.__name__
        words = (component.name, f"{module}.{function}", "names(")  # a search for a word is faster
        named = re.compile(rf"""["'=]{name}["'\])}},]|={name}\b|\b{module}\.{function}\b|names\(["']{kind}["']\)""")
        about = re.compile(rf"\b({kind}|{key_of(kind).rpartition('.')[2]})s?\b")
        likely = [text for text in files.values() if any(word in text for word in words)]
        if not any(named.search(text) and about.search(text) for text in likely):
            unnamed.append((kind, component.name))
    assert not unnamed
    assert all(any(re.search(rf"\b{kind}\b", text) for text in files.values()) for kind in KINDS)


@pytest.mark.parametrize("page", ["promises.md", "architecture.md"])
def test_every_test_that_a_page_names_exists(page):
    named = set(re.findall(r"`([\w/.-]+\.py)::(test_\w+)`", (DOCS / page).read_text()))
    assert len(named) > 20
    missing = []
    for path, test in sorted(named):
        file = ROOT / path if path.startswith("plugins/") else ROOT / "tests" / path
        if not file.is_file() or not re.search(rf"^def {test}\(", file.read_text(), re.MULTILINE):
            missing.append(f"{path}::{test}")
    assert not missing


def test_the_page_lists_what_is_used_of_horovod():
    part = (DOCS / "horovod.md").read_text().partition("## What Horovod's own tests say")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`(\w+)`", "\n".join(line for line in part.splitlines() if line.startswith("- "))))
    code = "\n".join(path.read_text() for path in (ROOT / "vaeflow").rglob("*.py"))
    assert listed == set(re.findall(r"\bhvd\.(\w+)", code))


def test_nothing_generated_is_committed():
    listed = subprocess.run(
        ["git", "ls-files", "docs/generated", "docs/_build"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert listed.stdout == ""


# The pages


@pytest.mark.parametrize("page", PAGES[:2], ids=lambda page: page.name)
def test_links_and_pictures_are_there(page):
    assert not [link for link in LOCAL_LINK.findall(page.read_text()) if not (ROOT / link).exists()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The pages as HTML; a warning of Sphinx is an error."""
    folder = tmp_path_factory.mktemp("built")
    run_python(
        *("-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "doctrees")),
        *(str(DOCS), str(folder / "html")),
        cwd=ROOT,
    )
    return folder / "html"


@pytest.mark.slow
def test_the_pages_build_and_have_commands_and_methods(built):
    page = unescape(re.sub(r"<[^>]+>", "", (built / "reference" / "commands.html").read_text()))
    for name, command in app.commands.items():
        inner = getattr(command, "commands", {})
        assert all(f"vaeflow {path} [OPTIONS]" in page for path in (name, *(f"{name} {one}" for one in inner)))
    python = (built / "reference" / "python.html").read_text()
    moments = [f"Callback.{name}" for name in vars(Callback) if not name.startswith("_")]
    asked = [f"Control.{name}" for name in ("stop", "save", "save_best", "set_learning_rate")]
    assert all(hasattr(Control, name.partition(".")[2]) for name in asked)
    assert not [name for name in (*moments, *asked) if f'id="vaeflow.callbacks.{name}"' not in python]


class Loads(HTMLParser):
    """Collects what a browser loads for a page: scripts, styles, fonts, pictures; not where links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag != "a":
            self.addresses += [values[name] for name in ("src", "href", "data", "srcset") if values.get(name)]


@pytest.mark.slow
def test_the_pages_load_nothing_from_a_network(built):
    loaded = {}
    for page in built.rglob("*.html"):
        parser = Loads()
        parser.feed(page.read_text())
        loaded[page] = parser.addresses
    assert all(any(address.endswith(".css") or ".css?" in address for address in found) for found in loaded.values())
    assert not [address for found in loaded.values() for address in found if re.match(r"(?:\w+:)?//", address)]
    styles = [sheet.read_text() for sheet in built.rglob("*.css")]
    assert styles
    assert not [style for style in styles if re.search(r"""(url\(\s*|@import\s+)["']?(\w+:)?//""", style)]


@pytest.mark.slow
def test_formulas_are_mathml_and_none_is_left_as_text(built):
    concepts = (DOCS / "concepts.md").read_text()
    page = (built / "concepts.html").read_text()
    assert page.count('<div class="math">') == concepts.count("$$") // 2
    assert page.count('class="eqno"') == concepts.count("\\tag{")
    text = re.sub(r"<math.*?</math>", "", page, flags=re.DOTALL)
    assert "\\mid" not in text
    assert "\\frac" not in text


@pytest.mark.slow
def test_names_of_contracts_link_to_their_reference(built):
    anchors = set(re.findall(r'id="(vaeflow[\w.]+)"', (built / "reference" / "python.html").read_text()))
    unlinked = []
    for kind, known in KINDS.items():
        page = (built / "kinds" / f"{kind}.html").read_text()
        for name in re.findall(r"vaeflow\.(?:contracts|callbacks|plots)\.\w+", known.signature):
            assert name in anchors
            if f'href="../reference/python.html#{name}"' not in page:
                unlinked.append((kind, name))
    assert not unlinked


@pytest.mark.slow
def test_the_sidebar_has_every_page_in_a_group(built):
    page = (built / "index.html").read_text()
    captions = re.findall(r'class="caption-text">(\w+)<', page)
    assert [one for one in captions if captions.count(one) == 1] == captions
    assert captions == ["Start", "Concepts", "Plugins", "Clusters", "Results", "Reference", "Development"]


# The repository's address


def test_the_address_is_named_once_and_the_pages_agree():
    (address,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"].values()
    cloned = re.findall(r"git clone (\S+)", text_of(PAGES))
    assert cloned
    assert set(cloned) == {address}
