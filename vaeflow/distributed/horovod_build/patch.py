"""The changes to Horovod 0.28.1 that current TensorFlow and Python need."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """A replacement of a text in a file.

    Attributes:
        file: its path in the folder of the sources.
        old: the text, which must be there exactly once.
        new: what replaces it.
        why: the reason.
    """

    file: str
    old: str
    new: str
    why: str

    def apply(self, sources: Path) -> None:
        """Change the file.

        Raises:
            VaeflowError: if the text is not in the file exactly once.
        """
        path = sources / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        found = text.count(self.old)
        if found != 1:
            raise VaeflowError(f"{self.file} of Horovod's sources has {self.old!r} {found} times, not once")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


STREAM_BEFORE = """\
// Forward declaration of AsGpuStreamValue
namespace stream_executor {
namespace gpu {
GpuStreamHandle AsGpuStreamValue(Stream* stream);
} // namespace stream_executor
} // namespace gpu
#if TENSORFLOW_VERSION >= 2011000000
#include "tensorflow/compiler/xla/stream_executor/stream.h"
"""
STREAM_AFTER = """\
#if TENSORFLOW_VERSION >= 2011000000
#include "tensorflow/compiler/xla/stream_executor/stream.h"
namespace stream_executor {
namespace gpu {
inline GpuStreamHandle AsGpuStreamValue(Stream* stream) {
  return static_cast<GpuStreamHandle>(stream->platform_specific_handle().stream);
}
} // namespace gpu
} // namespace stream_executor
"""

EDITS = (
    Edit(
        "horovod/tensorflow/CMakeLists.txt",
        'list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/xla_mpi_ops.cc")\n',
        "",
        "the file includes XLA headers that TensorFlow moved; its operations are only for GPUs under XLA",
    ),
    Edit(
        "horovod/tensorflow/mpi_ops.cc",
        STREAM_BEFORE,
        STREAM_AFTER,
        "TensorFlow has removed the function; the stream has the same handle. Only builds with CUDA need it",
    ),
    Edit(
        "horovod/runner/js_run.py",
        "from distutils.spawn import find_executable\n",
        "from shutil import which as find_executable\n",
        "horovodrun imports it, and Python 3.12 has no distutils",
    ),
)


def apply(sources: Path, edits: Sequence[Edit] = EDITS) -> None:
    """Change the sources.

    Args:
        sources: the folder of the sources.
        edits: the changes.

    Raises:
        VaeflowError: if a change does not fit.
    """
    for edit in edits:
        edit.apply(sources)


def fingerprint(edits: Sequence[Edit] = EDITS) -> str:
    """Return eight hexadecimal digits of a hash of the changes; a wheel's path in the cache contains them.

    >>> fingerprint(()) == fingerprint(())
    True
    >>> fingerprint(()) == fingerprint()
    False
    """
    return hashlib.sha256(repr([(edit.file, edit.old, edit.new) for edit in edits]).encode()).hexdigest()[:8]
