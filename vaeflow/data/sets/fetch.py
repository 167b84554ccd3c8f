"""Download published data sets into the cache. Sources are tried in order, and checksums are verified."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.data.sets.content import Content, Published, published, read_content
from vaeflow.data.sets.download import UnavailableError
from vaeflow.data.sets.mirrors import Mirror, mirrors, users_own
from vaeflow.data.sets.npy import write_npz
from vaeflow.distributed.job.job import Job
from vaeflow.errors import DataError, VaeflowError

if TYPE_CHECKING:
    from vaeflow.data.sets import Folders

Say = Callable[[str], None]


def to_stderr(line: str) -> None:
    """Print one line to standard error, on rank 0 only."""
    import click

    if Job.current().rank == 0:
        click.echo(line, err=True)


def fetch(name: str, folders: Folders, *, say: Say = to_stderr) -> Path:
    """Download a published data set into the cache if it is not there.

    The first available source is used: the user's folder, the cache, the public sources. If the data set is cached,
    the network is not used. Every source must have the same arrays, byte for byte.

    Args:
        name: 'mnist' or 'fashion-mnist'.
        folders: the user's folder and the cache.
        say: prints one line about the source, and another if the cached file is corrupt.

    Returns:
        The cached file: an uncompressed .npz of x_train, y_train, x_test, y_test (uint8) and source (a text).

    Raises:
        DataError: if a source, or the user's file, differs from the published data.
        UsageError: if there is no such data set.
        VaeflowError: if no source is available, or the cache cannot be written.
    """
    wanted = published(name)
    cached = folders.cache / f"{name}.npz"
    own = users_own(name, folders.user)
    if own is not None:
        wanted.check(own.read(own.path), own.label)
    if _is_whole(cached, wanted):
        say(f"{name}: from {own.label}, the same as {cached}" if own else f"{name}: from the cache, {cached}")
        return cached
    with _alone(cached, say):
        if _is_whole(cached, wanted, say):
            say(f"{name}: from the cache, {cached}, downloaded by another process")
        else:
            _fill(cached, wanted, (own,) if own else mirrors(name), say)
    return cached


def _is_whole(cached: Path, wanted: Published, say: Say | None = None) -> bool:
    if not cached.exists():
        return False
    try:
        wanted.check(read_content(cached), str(cached))
    except DataError as error:
        if say:
            say(f"{wanted.name}: the cached file is corrupt and is downloaded again ({error})")
        return False
    return True


def _fill(cached: Path, wanted: Published, sources: Iterable[Mirror], say: Say) -> None:
    refusals = []
    for source in sources:
        with tempfile.TemporaryDirectory(prefix="vaeflow-") as scratch:
            try:
                content = source.read(Path(scratch))
            except UnavailableError as error:
                refusals.append(f"{source.label}: {error}")
                continue
            wanted.check(content, source.label)
            _keep(cached, content, source.label)
        tried = f" (failed first: {'; '.join(refusals)})" if refusals else ""
        say(f"{wanted.name}: from {source.label}, saved as {cached}{tried}")
        return
    raise VaeflowError(
        f"{wanted.name}: no source is available: {'; '.join(refusals)}; "
        f"or put {wanted.name}.npz into a folder and set VAEFLOW_DATA_DIR to it"
    )


def _keep(cached: Path, content: Content, label: str) -> None:
    for left_behind in cached.parent.glob(
        f".{cached.name}.*.partial"
    ):  # left by a killed process; this one has the lock
        left_behind.unlink(missing_ok=True)
    write_npz(cached, {**content._asdict(), "source": np.array(label)})


@contextmanager
def _alone(cached: Path, say: Say) -> Iterator[None]:
    """Let one process at a time download a data set; the others wait and then use the cache."""
    from filelock import FileLock, Timeout

    lock = FileLock(cached.with_name(f".{cached.name}.lock"))
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"{cached.stem}: waiting for another process that downloads it")
            lock.acquire()
    except OSError as error:
        raise VaeflowError(f"cannot write to the cache {cached.parent}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()
