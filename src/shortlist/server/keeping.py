"""The files of a bundle in use, which stay readable for whoever has them open, whatever takes their place."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path


class Kept:
    """All files of a folder, open. Closed when nobody holds this any more. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, int] = {}
        weakref.finalize(self, _close, self._files)
        for where, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(where, name)
                self._files[os.path.relpath(path, folder)] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def copied(self) -> str:
        """A new temporary folder with all of them, byte by byte. Raises OSError."""
        folder = tempfile.mkdtemp(prefix="shortlist-")
        try:
            for name, handle in self._files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as to, os.fdopen(os.dup(handle), "rb") as of:
                    of.seek(0)
                    shutil.copyfileobj(of, to, 1 << 20)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder


def _close(files: dict[str, int]) -> None:
    for handle in files.values():
        os.close(handle)
