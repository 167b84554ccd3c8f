"""Types what the README and the tutorial say, in order, as a new user would, and writes what happened.

    python docs/first_hour.py --machine "a virtual machine with 2 cores of an Intel Xeon, 24 GB"

makes an empty folder, home and virtual environment, clones this repository there, runs every command and Python block
of the pages on a terminal, and writes `docs/first-hour.md`. With the full training of mnist-2d it takes about half an
hour on two cores. `--quick` shortens each training, to try the script itself. The exit code is 1 if a command failed
that should not.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "tutorial.md")
BLOCK = re.compile(r"^```(console|toml|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEMPORARY = re.compile(rf"{re.escape(tempfile.gettempdir())}/\S+")
COLUMNS, LAST, WIDEST = 110, 7, 150
SHORT = " epochs=1 dataset.train_examples=2000 dataset.test_examples=500"
KEPT = ("PIP_", "VAEFLOW_", "SSL_", "http", "HTTP", "no_proxy")
"""The beginnings of variables that a user's machine may need for a network."""

BEGIN = """\
What the README and the [tutorial](tutorial.md) say, typed by `python docs/first_hour.py` into a new clone, with an
empty home and virtual environment, on {machine}. The commands took {minutes:.1f} minutes.
Below each command are the last lines on the terminal."""

LEFT_OUT = {
    r"make train": "the README's commands did the same",
    r"source ": "the environment is active already",
    r"git clone .*|cd vaeflow": "done at the start",
    r".*~/cats.*": "it needs pictures of your own",
}
"""The beginnings of commands that are not run, and why."""


@dataclass(frozen=True)
class Step:
    """A thing to type, or a file to write.

    Attributes:
        page: that says it.
        text: the command, the Python code, or the file's content.
        kind: `console`, `python` or `toml`.
        fails: whether the page shows an error as its output.
    """

    page: str
    text: str
    kind: str = "console"
    fails: bool = False


@dataclass(frozen=True)
class Done:
    """What came of a step.

    Attributes:
        step: the step.
        seconds: that it took.
        code: its exit code; None if it was left out or is a server, which was stopped.
        screen: the last lines on the terminal, or why it was left out.
    """

    step: Step
    seconds: float
    code: int | None
    screen: tuple[str, ...]

    @property
    def wrong(self) -> bool:
        """Whether it failed and should not, or the other way round."""
        return self.code is not None and (self.code != 0) != self.step.fails


def steps_of(page: Path) -> list[Step]:
    """Return the steps of a page, in their order; plugins and sessions in Python blocks are none."""
    found = []
    for kind, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "console":
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                found.append(Step(page.name, command.strip(), fails=output.startswith("vaeflow: ")))
        elif (kind == "python" and not re.search("hookimpl|>>>", block)) or re.match(r"# \w+\.toml\n", block):
            found.append(Step(page.name, block, kind))
    return found


def screen_of(output: str) -> tuple[str, ...]:
    r"""Return the last lines that a terminal shows: of what was drawn over one line, the last.

    >>> screen_of("a\r\n 10%|#\r 20%|##\r\nb\r\n")
    ('a', ' 20%|##', 'b')
    >>> len(screen_of("x" * 1000)[0])
    154
    """
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output).replace("\r\n", "\n")
    lines = [next((text for text in reversed(line.split("\r")) if text.strip()), "") for line in plain.split("\n")]
    lines = (TEMPORARY.sub("...", line) for line in lines)
    cut = (f"{line[:WIDEST]} ..." if len(line) > WIDEST else line for line in map(str.rstrip, lines) if line)
    return tuple(cut)[-LAST:]


def typed(words: list[str], folder: Path, environment: dict[str, str], *, until: str = "") -> tuple[int | None, str]:
    """Run a program on a terminal and return its exit code and its output.

    Args:
        words: the program.
        folder: the working directory.
        environment: its variables.
        until: for a server, what it prints when it is ready; it is stopped then and has no exit code.
    """
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 40, COLUMNS, 0, 0))
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(words, cwd=folder, env=environment, **streams)  # noqa: S603
    os.close(theirs)
    output = ""
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                output += os.read(ours, 1 << 16).decode(errors="replace")
            except OSError:  # the terminal's end
                break
        if until and until in output:
            process.terminate()
            break
    os.close(ours)
    code = process.wait()
    return (None if until and until in output else code), output


class Hour:
    """The new user: an empty folder, home and environment.

    Args:
        place: an empty folder.
        quick: whether trainings are shortened.
    """

    def __init__(self, place: Path, *, quick: bool = False) -> None:
        self.place, self.clone, self._quick = place, place / "vaeflow", quick
        self._typed: set[str] = set()
        ours = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
        paths = [path for path in os.environ["PATH"].split(os.pathsep) if Path(path) != Path(sys.executable).parent]
        (place / "home").mkdir()
        self.environment = {
            **ours,
            "PATH": os.pathsep.join([str(place / "venv" / "bin"), *paths]),
            "HOME": str(place / "home"),
            "TERM": "xterm",
            "LANG": "C.UTF-8",
        }

    def prepare(self) -> None:
        """Create the environment and clone what is committed here."""
        subprocess.run([sys.executable, "-m", "venv", self.place / "venv"], check=True)  # noqa: S603
        subprocess.run(["git", "clone", "--quiet", ROOT, self.clone], check=True)  # noqa: S603, S607

    def do(self, step: Step) -> Done:
        """Do a step."""
        began = time.perf_counter()
        if step.kind == "toml":
            (self.clone / step.text.split("\n")[0].removeprefix("# ")).write_text(step.text, encoding="utf-8")
            return Done(step, 0.0, 0, ())
        reason = self._why_not(step)
        if reason:
            return Done(step, 0.0, None, (f"not run: {reason}",))
        words = ["python", "-c", step.text] if step.kind == "python" else ["bash", "-c", self._shortened(step.text)]
        served = "(Press CTRL+C to quit)" if step.text.startswith("tensorboard ") else ""
        code, output = typed(words, self.clone, self.environment, until=served)
        screen = screen_of(output.replace(str(self.place), "~"))
        return Done(step, time.perf_counter() - began, code, screen)

    def pictures(self) -> list[str]:
        """Return the pictures that the runs left."""
        return sorted(str(path.relative_to(self.clone)) for path in self.clone.glob("runs/*/plots/*.png"))

    def _why_not(self, step: Step) -> str:
        """Return why a command is not run; empty if it is."""
        if step.kind == "console":
            if step.text in self._typed:
                return "it was typed above"
            self._typed.add(step.text)
        why = (why for pattern, why in LEFT_OUT.items() if step.kind == "console" and re.match(pattern, step.text))
        return next(why, "")

    def _shortened(self, command: str) -> str:
        train = self._quick and re.match(r"vaeflow train (mnist|fashion|\./)", command) and "--dry-run" not in command
        return f"{command}{SHORT}" if train and "steps=" not in command and "dataset=" not in command else command


def page_of(done: list[Done], pictures: list[str], machine: str) -> str:
    """Return the transcript in Markdown."""
    minutes = sum(one.seconds for one in done) / 60
    parts = [
        "# The first hour",
        BEGIN.format(machine=machine, minutes=minutes),
    ]
    page = ""
    for one in done:
        if one.step.page != page:
            page = one.step.page
            parts.append(f"## {page}")
        if one.step.kind == "toml":
            continue
        shown = one.step.text if one.step.kind == "console" else "python (the page's block)"
        code = "stopped when it was ready" if one.code is None else f"exit code {one.code}"
        took = "" if one.screen[:1] and one.screen[0].startswith("not run: ") else f"{one.seconds:.1f} s, {code}\n\n"
        parts.append(f"{took}```text\n$ {shown}\n" + "".join(f"{line}\n" for line in one.screen) + "```")
    parts += ["## Pictures", "\n".join(f"- `{name}`" for name in pictures) or "none"]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Do it, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machine", default="this machine", help="what the page says about the machine")
    parser.add_argument("--quick", action="store_true", help="shorten each training")
    parser.add_argument("--only", default="", help="a regular expression: only commands that contain it")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "first-hour.md", help="the page that is written")
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="first-hour-"))
    try:
        hour, done = Hour(place, quick=given.quick), []
        hour.prepare()
        for step in (one for page in PAGES for one in steps_of(page)):
            if step.kind == "toml" or re.search(given.only, step.text):
                done.append(hour.do(step))
                print(f"{done[-1].seconds:7.1f} s  {'WRONG ' if done[-1].wrong else ''}{step.text.splitlines()[0]}")
        given.out.write_text(page_of(done, hour.pictures(), given.machine), encoding="utf-8")
    finally:
        shutil.rmtree(place)
    return int(any(one.wrong for one in done))


if __name__ == "__main__":
    sys.exit(main())
