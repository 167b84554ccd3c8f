"""`vaeflow plugins check`: every built-in component keeps the contract of its kind, and the rules are documented."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from helpers.paths import HELPERS, ROOT
from helpers.plugin_packages import GOOD, HEAD, site_in
from helpers.rules import found_by
from helpers.small_runs import vaeflow
from helpers.tiers import few

from vaeflow.cli import main
from vaeflow.plugin_kit.testing import check
from vaeflow.plugins.records import KINDS
from vaeflow.plugins.registry import Registry

HOOK = "@hookimpl\ndef vaeflow_components():\n    yield Component('encoder', 'unfinished', build)\n"
QUICK = (
    *("shapes", "rows", "noise", "density", "mean", "divergence", "loss", "weight", "descent", "rate", "figures"),
    *("pixels", "life", "state", "weights", "files", "picture", "parameters", "reparameterized"),
)
"""Rules that take no compiled step; `python docs/checked.py` runs the others too, for minutes, and writes the table."""


def given(kind: str, name: str) -> dict[str, object]:
    """Return options for those components that have required options."""
    sys.path.insert(0, str(ROOT / "docs"))
    from checked import REQUIRED

    return REQUIRED.get((kind, name), {})


def builtin() -> list[tuple[str, str]]:
    """Return every built-in component that the quick rules are about."""
    own = [one.component for one in Registry.load().all() if one.origin.distribution == "vaeflow"]
    return [(one.kind, one.name) for one in own if one.kind not in ("dataset", "strategy")]


FIRST = {kind: (kind, name) for kind, name in reversed(builtin()) if kind != "model"}.values()
"""A component of each kind, models aside, whose rules tests/integration/test_models.py runs; others are repetitions."""


@pytest.fixture(scope="module")
def found(request):
    """What the quick rules find of built-in components."""
    chosen = builtin() if request.config.getoption("--all") else FIRST
    return found_by((component, QUICK, given(*component)) for component in chosen)


@pytest.mark.slow
@pytest.mark.parametrize("component", few(builtin(), *FIRST), ids=" ".join)
def test_builtin_components_keep_the_quick_rules(component, found):
    assert found[component]
    broken = [f"{rule}: {message}" for rule, outcome, message in found[component] if outcome == "broken"]
    assert not broken


@pytest.mark.slow
@pytest.mark.usefixtures("forked_checks")
def test_a_plugin_keeps_every_rule(contract):
    plugin = str(ROOT / "docs" / "examples" / "vaeflow_residual.py")
    found = contract("encoder", "residual", plugin=plugin, depth=1, width=8)
    assert {one.outcome for one in found} == {"ok"}
    assert {"shapes", "gradients", "bits", "traces", "xla", "precision", "side-effects"} <= {one.rule for one in found}


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.usefixtures("forked_checks")
def test_a_strategy_is_checked_by_a_job(contract):
    (found,) = contract("strategy", "mirrored")
    assert (found.rule, found.outcome) == ("job", "ok")


def test_the_fixture_fails_with_the_rules_that_are_broken(contract):
    with pytest.raises(pytest.fail.Exception) as error:
        contract("encoder", "wrong-shape", plugin=str(HELPERS / "broken_plugins.py"), rules=["shapes"])
    assert re.search(r"breaks the contract\n  shapes: the output for 1 rows has shape", str(error.value))


def test_the_fixture_says_what_there_is_not(contract):
    with pytest.raises(RuntimeError, match="unknown encoder 'nowhere'"):
        contract("encoder", "nowhere")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["check"], "no component is given: use KIND and NAME, or --of DISTRIBUTION"),
        (["check", "encoder"], "no component is given: use KIND and NAME, or --of DISTRIBUTION"),
        (["check", "encodr", "mlp"], "unknown kind 'encodr'; did you mean 'encoder'?"),
        (["check", "encoder", "mpl"], "unknown encoder 'mpl'; did you mean 'mlp'?"),
        (["check", "encoder", "mlp", "hiden=[3]"], "encoder.hiden: mlp of vaeflow"),
        (["check", "encoder", "mlp", "--x-shape", "8x8"], "'8x8' is not a shape, such as 28,28,1"),
        (["check", "encoder", "mlp", "--with", "prior"], "--with: 'prior' is not KIND=NAME, such as prior="),
        (["check", "encoder", "mlp", "--with", "plot=x"], "--with: kind 'plot' can't be combined with a component; "),
        (["check", "encoder", "mlp", "--with", "encoder=mlp"], "the encoder is the component under check"),
        (["check", "encoder", "mlp", "--with", "prior=no"], "unknown prior 'no'"),
        (["check", "--of", "vaeflo"], "--of: 'vaeflo' has no components; did you mean 'vaeflow'?"),
    ],
)
def test_bad_input_is_one_line(arguments, line, capsys):
    assert main(["plugins", *arguments]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said


def test_an_unknown_rule_names_the_nearest():
    done = vaeflow("plugins", "check", "encoder", "mlp", "--rule", "shape")
    assert done.returncode == 2
    assert "--rule: unknown rule 'shape'; did you mean 'shapes'?" in done.stderr


# The table of the docs


def checked() -> list[list[str]]:
    """Return the rows of docs/checked.md."""
    lines = (ROOT / "docs" / "checked.md").read_text().splitlines()
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def test_every_component_is_in_the_table_and_keeps_its_rules():
    from vaeflow.plugin_kit.checks.rules_by_kind import RULES

    rows = {(kind, name): tuple(map(int, counts)) for kind, name, _, *counts, _ in checked()}
    own = {(one.component.kind, one.component.name) for one in Registry.load().all()}
    assert own <= set(rows)
    for (kind, name), (kept, broken, skipped) in rows.items():
        assert broken == 0, name
        assert kept + skipped == len(RULES[kind]), f"{kind} {name}: run docs/checked.py again"


def test_every_kind_has_rules():
    from vaeflow.plugin_kit.checks.rules_by_kind import RULES

    assert set(RULES) == set(KINDS)
    for rules in RULES.values():
        assert len({rule.name for rule in rules}) == len(rules)


DIES = """
import os

CODE = 7

from vaeflow import Component, hookimpl

COUNT = []


def dies(x_shape):
    '''One dense layer, and the end of the process when it is built for the third time.'''
    import keras

    COUNT.append(1)
    if len(COUNT) == 3:
        os._exit(CODE)
    return keras.Sequential([keras.layers.Input(x_shape), keras.layers.Flatten(), keras.layers.Dense(4)])


@hookimpl
def vaeflow_components():
    yield Component("encoder", "dies", dies)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("forked_checks")
@pytest.mark.parametrize("code", few([0, 2, 7], 0))
def test_a_check_that_dies_is_not_a_check_that_passed(code, tmp_path):
    plugin = tmp_path / "dies.py"
    plugin.write_text(DIES.replace("CODE = 7", f"CODE = {code}"))
    with pytest.raises(RuntimeError, match=rf"ended with exit code {code} after 2 of 9 rules, the last was rows"):
        check("encoder", "dies", plugin=str(plugin))


@pytest.mark.slow
@pytest.mark.usefixtures("forked_checks")
def test_a_component_is_tried_with_partners(contract):
    with pytest.raises(pytest.fail.Exception, match=r"divergence: KL\(q, p\) in closed form, by the prior, is -"):
        contract(
            *("posterior", "diagonal-gaussian"),
            partners={"prior": "kl-of-the-wrong-sign"},
            plugin=str(HELPERS / "broken_latents.py"),
            rules=["divergence"],
        )


@pytest.mark.slow
@pytest.mark.usefixtures("forked_checks")
def test_a_callback_is_tried_with_a_metric(contract):
    watching = {"metric": "test/squared-error"}
    (found,) = check("callback", "early-stopping", rules=["life"], **watching)
    assert found.outcome == "broken"
    assert found.message.startswith("no evaluation has the metric 'test/squared-error'; available: ")
    contract("callback", "early-stopping", rules=["life"], partners={"metric": "squared-error"}, **watching)


def test_one_cause_is_said_once(tmp_path):
    from vaeflow.plugin_kit.checks import rules_by_kind as contracts
    from vaeflow.plugin_kit.checks.subject import Subject

    path = tmp_path / "unfinished.py"
    path.write_text(f"{HEAD}def build(x_shape):\n    raise KeyError('width')\n\n{HOOK}")
    subject = Subject(Registry.load([str(path)]), "encoder", "unfinished")
    first, second = contracts.check(subject, ["shapes", "rows"])
    assert first.outcome == "broken"
    assert first.message.endswith("could not be built: KeyError: 'width'")
    assert (second.outcome, second.message) == (
        "skipped",
        "not run, because the rule 'shapes' is broken: fix that first",
    )


def test_what_must_be_told_something_is_said_to_be_left_out(tmp_path, monkeypatch, capsys):
    source = GOOD.replace("depth: int = 32", "depth: int")
    assert source != GOOD
    with site_in(tmp_path, monkeypatch) as site:
        site.install(source, "vaeflow-resnet", "1.0")
        assert main(["plugins", "check", "--of", "vaeflow-resnet"]) == 2
    skipped, error = capsys.readouterr().err.splitlines()
    assert re.match(r"skipped: encoder 'resnet' of vaeflow-resnet 1\.0 \(.*\) has required options: depth; ", skipped)
    assert "--of: every component of 'vaeflow-resnet' has required options" in error


def test_of_takes_a_file_as_plugin_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("one.py").write_text(HEAD + GOOD.replace("depth: int = 32", "depth: int"))
    assert main(["plugins", "check", "--of", "one.py", "--plugin", "one.py"]) == 2
    said = capsys.readouterr().err
    assert f"skipped: encoder 'resnet' of {tmp_path / 'one.py'} (--plugin) has required options: depth" in said
