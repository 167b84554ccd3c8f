"""Building and installing Horovod: real pip on folders in place of a registry, real child processes, a real wheel."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.small_runs import python

from vaeflow.cli import main
from vaeflow.commands.doctor import _missing_for_horovod
from vaeflow.data.sets import Folders
from vaeflow.distributed.horovod_build import patch, toolchain
from vaeflow.distributed.horovod_build.build import build_environment, build_wheel
from vaeflow.distributed.horovod_build.pip import PipError
from vaeflow.distributed.horovod_build.probe import probe
from vaeflow.distributed.horovod_build.sdist import HOROVOD, ChecksumError, Sdist, download, unpack
from vaeflow.distributed.horovod_build.toolchain import find_cuda, require_toolchain
from vaeflow.distributed.horovod_build.wheels import Target, Wheels
from vaeflow.errors import VaeflowError

SETUP = (
    "import pathlib, setuptools; pathlib.Path({marker!r}).touch(); setuptools.setup(name='horovod', version='0.28.1')"
)
TARGET = Target("cpython-311", "2.21.0", "linux-x86_64", "cpu")


@pytest.fixture
def marker(tmp_path):
    """What the false Horovod's setup.py leaves when it is run."""
    return tmp_path / "setup-was-run"


@pytest.fixture
def false_sdist(packages, marker):
    """A file with the name of Horovod's source package."""
    text = SETUP.format(marker=str(marker)).encode()
    with tarfile.open(packages / HOROVOD.file, "w:gz") as archive:
        add(archive, f"{HOROVOD.stem}/setup.py", text)
        add(archive, f"{HOROVOD.stem}/PKG-INFO", b"Metadata-Version: 2.1\nName: horovod\nVersion: 0.28.1\n")
    return packages / HOROVOD.file


@pytest.fixture
def tools():
    """A folder that has setuptools."""
    found = find_spec("setuptools")
    if found is None or found.origin is None:
        pytest.skip("this environment has no setuptools")
    return Path(found.origin).parents[1]


def add(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def write_wheel(folder, name, version):
    """Write a wheel with nothing in it but its metadata."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def programs(folder, *names):
    """Make programs that do nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder)}


def false_horovod(folder, code):
    """Make a folder for PYTHONPATH in which Horovod is installed, with the given module for TensorFlow."""
    (folder / "horovod" / "tensorflow").mkdir(parents=True)
    (folder / "horovod" / "__init__.py").touch()
    (folder / "horovod" / "tensorflow" / "__init__.py").write_text(code)
    info = folder / "horovod-0.28.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: horovod\nVersion: 0.28.1\n")
    return folder


# The sources


def test_a_wrong_file_of_the_same_name_is_not_run_or_kept(false_sdist, marker, tmp_path, tools):
    folder = tmp_path / "fetched"
    folder.mkdir()
    with pytest.raises(ChecksumError) as caught:
        download(HOROVOD, folder, tools)
    assert hashlib.sha256(false_sdist.read_bytes()).hexdigest() in str(caught.value)
    assert HOROVOD.sha256 in str(caught.value)
    assert not marker.exists()
    assert not list(folder.rglob("*.tar.gz"))


def test_the_right_file_is_got(false_sdist, marker, tmp_path, tools):
    folder = tmp_path / "fetched"
    folder.mkdir()
    right = Sdist("horovod", "0.28.1", hashlib.sha256(false_sdist.read_bytes()).hexdigest())
    assert download(right, folder, tools).read_bytes() == false_sdist.read_bytes()
    assert marker.exists()  # pip does run setup.py: the test above would see it


def test_a_registry_without_it_is_an_error_of_pip(packages, tmp_path):
    with pytest.raises(PipError, match=r"pip could not download horovod-0\.28\.1\.tar\.gz: No matching"):
        download(HOROVOD, tmp_path, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("false_sdist")
def test_the_command_refuses_a_wrong_checksum(packages, marker, tmp_path, monkeypatch, capsys):
    for name, version in (("setuptools", "69.5"), ("wheel", "0.45"), ("packaging", "25.0"), ("cmake", "4.0")):
        write_wheel(packages, name, version)
    cache = tmp_path / "cache"
    monkeypatch.setenv("VAEFLOW_CACHE_DIR", str(cache))
    programs(tmp_path / "bin", "cc", "c++", "make")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    assert main(["horovod", "install", "--rebuild", "--if-possible"]) == 1
    err = capsys.readouterr().err
    assert re.search(r"^vaeflow: the registry's horovod-0.28.1.tar.gz has SHA-256 \w{64}", err, re.MULTILINE)
    assert not marker.exists()
    assert not [path for path in cache.rglob("*") if path.suffix in {".gz", ".whl"}]


@pytest.mark.parametrize("name", ["../outside", "/{folder}/outside", "horovod-0.28.1/../../outside"])
def test_nothing_is_unpacked_outside_the_folder(tmp_path, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        add(archive, name.format(folder=tmp_path), b"x")
    try:
        unpack(HOROVOD, tmp_path / "x.tar.gz", inside)
    except VaeflowError as error:
        assert "cannot be unpacked" in str(error)  # noqa: PT017 An absolute name is taken as one below the folder.
    assert not (tmp_path / "outside").exists()


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("horovod-0.28.1/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with pytest.raises(VaeflowError, match="cannot be unpacked"):
        unpack(HOROVOD, tmp_path / "x.tar.gz", tmp_path / "inside")


def test_a_cut_off_file_is_an_error(false_sdist, tmp_path):
    half = tmp_path / "half.tar.gz"
    half.write_bytes(false_sdist.read_bytes()[:100])
    with pytest.raises(VaeflowError, match=r"half\.tar\.gz cannot be unpacked"):
        unpack(HOROVOD, half, tmp_path / "inside")


# The patch


def test_the_patch_takes_out_what_it_names_and_nothing_else(tmp_path):
    before = {}
    for edit in patch.EDITS:
        path = tmp_path / edit.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"first\n{edit.old}last\n")
        before[path] = path.read_text()
    patch.apply(tmp_path)
    for edit in patch.EDITS:
        assert (tmp_path / edit.file).read_text() == f"first\n{edit.new}last\n"
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(before)


@pytest.mark.parametrize("text", ["", "a\na\n"])
def test_a_patch_that_does_not_fit_is_an_error(tmp_path, text):
    (tmp_path / "f").write_text(text)
    with pytest.raises(VaeflowError, match=r"f of Horovod's sources has 'a\\n' [02] times, not once"):
        patch.apply(tmp_path, [patch.Edit("f", "a\n", "b\n", "because")])
    assert (tmp_path / "f").read_text() == text


# The machine


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ((), "a C compiler (gcc), a C++ compiler (g++), make"),
        (("gcc", "clang++"), "make"),
        (("cc", "make"), "a C++ compiler (g++)"),
        (("c++", "make"), "a C compiler (gcc)"),
    ],
)
def test_missing_tools_are_named_with_a_way_to_get_them(tmp_path, there, missing):
    with pytest.raises(VaeflowError) as caught:
        require_toolchain(programs(tmp_path, *there))
    assert f"needs {missing}: not found" in str(caught.value)
    assert "apt-get install g++ make" in str(caught.value)
    assert caught.value.exit_code == 1


def test_compilers_of_the_users_own_will_do(tmp_path):
    environ = programs(tmp_path, "make", "icx", "icpx")
    require_toolchain({**environ, "CC": "icx -O1", "CXX": str(tmp_path / "icpx")})
    with pytest.raises(VaeflowError, match=r"needs a C\+\+ compiler"):
        require_toolchain({**environ, "CC": "icx", "CXX": "missing"})


@pytest.mark.parametrize(("options", "code"), [([], 1), (["--if-possible"], 0)])
def test_the_command_without_a_compiler_is_one_line(tmp_path, monkeypatch, capsys, options, code):
    monkeypatch.setenv("VAEFLOW_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["horovod", "install", "--rebuild", *options]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.match(r"(vaeflow|horovod: not installed): Horovod's build needs a C compiler", err)


def test_cuda_is_its_compiler_and_nccl_together(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "SYSTEM", ())
    cuda = tmp_path / "cuda"
    environ = {"PATH": str(tmp_path), "HOROVOD_CUDA_HOME": str(cuda)}
    (cuda / "include").mkdir(parents=True)
    (cuda / "include" / "nccl.h").touch()
    assert find_cuda(environ) != cuda  # no compiler
    programs(cuda / "bin", "nvcc")
    assert find_cuda(environ) != cuda  # as beside a wrapper
    (cuda / "include" / "cuda.h").touch()
    assert find_cuda(environ) == cuda
    assert find_cuda(programs(cuda / "bin", "nvcc")) == cuda  # found by the PATH
    (cuda / "include" / "nccl.h").rename(tmp_path / "nccl.h")
    assert find_cuda(environ) is None
    assert find_cuda({**environ, "HOROVOD_NCCL_INCLUDE": str(tmp_path)}) == cuda


# The build


def test_build_uses_gloo_and_adds_nccl_with_cuda(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "SYSTEM", ())
    programs(tmp_path / "cuda" / "bin", "nvcc")
    (tmp_path / "cuda" / "include").mkdir()
    (tmp_path / "cuda" / "include" / "cuda.h").touch()
    (tmp_path / "cuda" / "include" / "nccl.h").touch()
    environ = {
        "PATH": os.defpath,
        "HOROVOD_GPU_OPERATIONS": "MPI",
        "HOROVOD_WITHOUT_GLOO": "1",
        "HOROVOD_CUDA_HOME": str(tmp_path / "cuda"),
    }
    wanted = {
        "HOROVOD_WITH_TENSORFLOW": "1",
        "HOROVOD_WITHOUT_PYTORCH": "1",
        "HOROVOD_WITHOUT_MXNET": "1",
        "HOROVOD_WITHOUT_MPI": "1",
        "HOROVOD_WITH_GLOO": "1",
    }
    cpu = build_environment(environ, tmp_path, "cpu")
    assert wanted.items() <= cpu.items()
    assert not {"HOROVOD_GPU_OPERATIONS", "HOROVOD_WITHOUT_GLOO"} & set(cpu)
    cuda = build_environment(environ, tmp_path, "cuda")
    assert (wanted | {"HOROVOD_GPU_OPERATIONS": "NCCL"}).items() <= cuda.items()
    assert "HOROVOD_WITHOUT_GLOO" not in cuda


def test_cuda_that_is_asked_for_and_not_there_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "SYSTEM", ())
    (tmp_path / "bin").mkdir()
    programs(tmp_path / "bin", "nvcc")
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "cuda.h").touch()
    with pytest.raises(VaeflowError, match=r"nccl\.h"):
        build_environment({"PATH": "", "CUDA_HOME": str(tmp_path)}, tmp_path, "cuda")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["a.cc:3:1: error: no type x", "    int a;"], "a.cc:3:1: error: no type x"),
        (
            ["CMake Error at A.cmake:290 (message):", "  Could NOT find B"],
            "CMake Error at A.cmake:290 (message): Could",
        ),
        (["Killed"], "make: Error 2"),
    ],
)
def test_failed_build_prints_the_first_error_and_keeps_the_log(tmp_path, tools, said, reason):
    sources, out, log, seen = tmp_path / "sources", tmp_path / "out", tmp_path / "build.log", []
    sources.mkdir()
    out.mkdir()
    lines = ["[  7%] Building", "[ 40%] Building CXX object tcp/error.cc.o", *said, "make: Error 2"]
    (sources / "setup.py").write_text(f"import sys\nprint({chr(10).join(lines)!r})\nsys.exit(1)\n")
    with pytest.raises(VaeflowError) as caught:
        build_wheel(sources, tools, out, log=log, device="cpu", progress=seen.append)
    assert str(caught.value).startswith(f"Horovod did not build: {reason}")
    assert str(caught.value).endswith(f"; the full output is in {log}")
    assert seen == [7, 40]
    assert "make: Error 2" in log.read_text()


# The cache


def test_a_wheel_is_found_for_its_own_target_only(tmp_path):
    wheels, wheel = Wheels(tmp_path / "cache"), tmp_path / "horovod-0.28.1-x.whl"
    wheel.write_bytes(b"wheel")
    assert wheels.find(TARGET) is None
    kept = wheels.keep(TARGET, wheel)
    assert (wheels.find(TARGET), kept.read_bytes()) == (kept, b"wheel")
    for other in (
        Target("cpython-312", "2.21.0", "linux-x86_64", "cpu"),
        Target("cpython-311", "2.22.0", "linux-x86_64", "cpu"),
        Target("cpython-311", "2.21.0", "linux-aarch64", "cpu"),
        Target("cpython-311", "2.21.0", "linux-x86_64", "cuda"),
    ):
        assert wheels.find(other) is None


def test_another_patch_is_another_wheel(tmp_path, monkeypatch):
    wheels, wheel = Wheels(tmp_path / "cache"), tmp_path / "horovod-0.28.1-x.whl"
    wheel.touch()
    wheels.keep(TARGET, wheel)
    monkeypatch.setattr(patch.fingerprint, "__defaults__", ((),))
    assert wheels.find(TARGET) is None


def test_a_wheel_that_cannot_be_copied_whole_leaves_nothing(tmp_path):
    wheels = Wheels(tmp_path / "cache")
    with pytest.raises(OSError, match="missing"):
        wheels.keep(TARGET, tmp_path / "missing.whl")
    assert not list(wheels.folder(TARGET).iterdir())


def test_here_is_this_python_and_its_tensorflow():
    here = Target.here("cpu")
    assert here.python == f"cpython-{sys.version_info.major}{sys.version_info.minor}"
    assert here.tensorflow.startswith("2.")


# What is installed


def test_no_horovod_is_no_horovod(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert not probe().works
    assert probe().problem == "it is not installed"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise ImportError('undefined symbol: x')", "it cannot be imported: ImportError: undefined symbol: x"),
        ("import os; os.kill(os.getpid(), 11)", "it cannot be imported: the process was ended by signal 11"),
        ("gloo_built = mpi_built = nccl_built = lambda: 0", "it is built without Gloo and MPI"),
    ],
)
def test_an_unusable_horovod_is_recognised(tmp_path, monkeypatch, code, problem):
    site = false_horovod(tmp_path, code)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    found = probe()
    assert (found.works, found.version, found.problem) == (False, "0.28.1", problem)
    assert _missing_for_horovod().startswith(f"Horovod: {problem}; vaeflow horovod install")
    assert main(["horovod", "status"]) == 1


def test_a_horovod_that_can_be_used_says_what_it_has(tmp_path, monkeypatch, capsys):
    site = false_horovod(tmp_path, "print('hello'); gloo_built = lambda: True; mpi_built = nccl_built = lambda: 0")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    assert _missing_for_horovod() == ""
    assert main(["horovod", "status"]) == 0
    assert capsys.readouterr().out.startswith("horovod 0.28.1: works, built with Gloo\ncache: ")


# The real one


@pytest.fixture
def real_wheel():
    """The wheel that `vaeflow horovod install` built for this Python."""
    wheel = Wheels(Folders.default().cache / "horovod").find(Target.here("cpu"))
    if wheel is None:
        pytest.skip("the cache has no wheel of Horovod for this Python: vaeflow horovod install builds it")
    return wheel


@pytest.mark.horovod
def test_the_wheel_is_of_the_patched_sources(real_wheel):
    with zipfile.ZipFile(real_wheel) as archive:
        names = archive.namelist()
        assert archive.read("horovod/runner/js_run.py").count(b"distutils") == 0
    assert any(re.match(r"horovod/tensorflow/mpi_lib\..*so$", name) for name in names)


@pytest.mark.slow
@pytest.mark.horovod
def test_horovod_of_another_tensorflow_is_replaced_offline(real_wheel, tmp_path):
    """In a new environment that sees this one's packages, and before them a Horovod that does not load."""
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    own = home / "bin" / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([own, "-c", query], capture_output=True, text=True, check=True).stdout.strip())
    seen = [path for path in sys.path if path and Path(path).is_dir() and "lib/python" in path]
    root = str(ROOT)
    (site / "beside.pth").write_text("\n".join([root, *[path for path in seen if path.endswith("site-packages")]]))
    false_horovod(site, "raise ImportError('undefined symbol: x')")
    (site / "horovod-0.28.1.dist-info" / "RECORD").write_text(
        "horovod/__init__.py,,\nhorovod/tensorflow/__init__.py,,\nhorovod-0.28.1.dist-info/METADATA,,\n"
        "horovod-0.28.1.dist-info/RECORD,,\n"
    )
    environ = {**os.environ, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    environ |= {"VAEFLOW_CACHE_DIR": str(tmp_path / "cache")}
    environ.pop("PIP_FIND_LINKS", None)
    Wheels(tmp_path / "cache" / "horovod").keep(Target.here("cpu"), real_wheel)
    call = [own, "-m", "vaeflow", "horovod", "install"]
    first = subprocess.run([*call, "--device", "cpu"], capture_output=True, text=True, env=environ)
    assert first.returncode == 0, first.stderr
    lines = first.stderr.splitlines()
    assert lines[0].startswith(f"horovod: from the cache, {tmp_path}")
    assert lines[1:] == ["horovod: 0.28.1 is installed and can be imported; built with Gloo"]
    second = subprocess.run([*call, "--device", "cpu"], capture_output=True, text=True, env=environ)
    assert (second.returncode, second.stderr.count("\n")) == (0, 1)
    assert "is installed already and can be imported; its wheel is in the cache" in second.stderr


@pytest.mark.horovod
@pytest.mark.distributed
@pytest.mark.repetition
def test_two_processes_of_horovodrun_add_up(tmp_path):
    if not probe().works:
        pytest.skip("Horovod is not installed: vaeflow horovod install")
    code = (
        "import horovod.tensorflow as hvd, tensorflow as tf; hvd.init();"
        "total = hvd.allreduce(tf.constant([2**40 + hvd.rank()], tf.int64), op=hvd.Sum);"
        "print('sum', int(total[0]), 'of', hvd.size(), flush=True); hvd.shutdown()"
    )
    run = shutil.which("horovodrun", path=str(Path(sys.executable).parent))
    assert run
    command = [run, "-np", "2", "--gloo", *python(), "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"sum \d+ of \d", done.stdout) == [f"sum {2**41 + 1} of 2"] * 2
