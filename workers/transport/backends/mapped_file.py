"""Maps files that other workers of this host have written into their folders under ``/dev/shm``."""

import mmap
import os
import re
from pathlib import Path

#: ``FOLDER/FILE``: names come from the residual server, and must not lead out of the shared folder.
_NAME = re.compile(r"[0-9a-f]{16}/[0-9a-z]{1,20}")


def map_file(folder: Path, name: str, magic: bytes, *, populate: bool = False) -> mmap.mmap | None:
    """A file of a writer's folder in ``folder``, shared and writable.

    ``None`` if there is none, or none that begins with ``magic``. ``populate``: take all pages now.
    """
    if not _NAME.fullmatch(name):
        return None
    try:
        file = os.open(folder / name, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if populate else 0)
        memory = mmap.mmap(file, os.fstat(file).st_size, flags=flags)
    except (OSError, ValueError):
        return None
    finally:
        os.close(file)
    return memory if memory[: len(magic)] == magic else None
