"""A rule of a kind's contract, and its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vaeflow.errors import VaeflowError
from vaeflow.plugin_kit.checks.require import BrokenRuleError, SkippedRuleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.plugin_kit.checks.subject import Subject

Outcome = Literal["ok", "broken", "skipped"]


@dataclass(frozen=True)
class Rule:
    """One rule of a contract.

    Attributes:
        name: its name.
        doc: its requirement, one line.
        test: raises BrokenRuleError, or SkippedRuleError.
    """

    name: str
    doc: str
    test: Callable[[Subject], None]


@dataclass(frozen=True)
class Result:
    """The result of a rule.

    Attributes:
        rule: its name.
        outcome: `ok`, `broken`, or `skipped`.
        message: of a broken rule the tensor and the numbers; of a skipped one the reason; otherwise empty.
    """

    rule: str
    outcome: Outcome
    message: str = ""


def run(rule: Rule, subject: Subject) -> Result:
    """Run a rule; any error of the component breaks it."""
    try:
        rule.test(subject)
    except BrokenRuleError as broken:
        return Result(rule.name, "broken", " ".join(str(broken).split()))
    except SkippedRuleError as why:
        return Result(rule.name, "skipped", str(why))
    except VaeflowError as error:
        return Result(rule.name, "broken", str(error))
    except Exception as error:  # noqa: BLE001 A plugin may raise anything.
        return Result(rule.name, "broken", f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Result(rule.name, "ok")
