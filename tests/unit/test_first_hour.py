"""The script that types what the pages say: `docs/first_hour.py`."""

from __future__ import annotations

import doctest
import importlib
import sys

import pytest
from helpers.paths import ROOT

PAGE = """
```console
$ git clone somewhere
$ echo "$HOME"; printf ' 1%%\\r 2%%\\n'
$ false
$ vaeflow trian
vaeflow: there is no such command
$ echo "$HOME"; printf ' 1%%\\r 2%%\\n'
```

```toml
# mine.toml
a = 1
```

```python
from vaeflow import hookimpl
```

```python
print(open("mine.toml").read())
```
"""


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module("first_hour")
    finally:
        sys.path.remove(str(ROOT / "docs"))


def test_its_examples_are_true(script):
    assert doctest.testmod(script).attempted
    assert doctest.testmod(script).failed == 0


def test_a_page_is_typed_as_it_stands(script, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    (tmp_path / "empty").mkdir()
    hour = script.Hour(tmp_path / "empty")
    hour.clone.mkdir()
    (tmp_path / "empty" / "venv" / "bin").mkdir(parents=True)
    for name, text in {"vaeflow": "echo no; exit 2", "python": f'exec {sys.executable} "$@"'}.items():
        (tmp_path / "empty" / "venv" / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "empty" / "venv" / "bin" / name).chmod(0o755)
    done = [hour.do(step) for step in script.steps_of(page)]
    assert [(one.code, one.screen, one.wrong) for one in done] == [
        (None, ("not run: done at the start",), False),
        (0, ("~/home", " 2%"), False),
        (1, (), True),
        (2, ("no",), False),
        (None, ("not run: it was typed above",), False),
        (0, (), False),
        (0, ("# mine.toml", "a = 1"), False),
    ]
    text = script.page_of(done, [], "a machine")
    assert "\n```text\n$ false\n```\n" in text
    assert "s, exit code 2\n\n```text\n$ vaeflow trian\nno\n```" in text
    assert "on a machine. The commands took 0.0 minutes." in text


def test_the_pages_begin_with_an_installation(script):
    readme = [step.text for step in script.steps_of(script.PAGES[0])]
    assert readme.index("pip install .") < readme.index("vaeflow train mnist-2d")


def test_a_server_is_stopped_when_it_is_ready(script, tmp_path):
    code, output = script.typed(
        ["sh", "-c", "echo ready; sleep 60"], tmp_path, {"PATH": "/usr/bin:/bin"}, until="ready"
    )
    assert (code, output.strip()) == (None, "ready")
