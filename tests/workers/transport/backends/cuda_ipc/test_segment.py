"""Files that describe no slab are not opened."""

from pathlib import Path

import pytest

from tests.workers.transport.backends.cuda_ipc.ends import KB, Ends
from workers.transport.backends.cuda_ipc import segment


def spoil(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize(
    ("at", "data"),
    [(0, b"OTHER"), (segment.SIZE, b"\xff" * 8), (segment.SIZE, b"\0" * 8), (segment.HANDLE, b"\xff" * 64)],
    ids=["other kind", "too large", "empty", "handle"],
)
def test_a_segment_that_does_not_describe_a_slab_is_not_opened(ends: Ends, at: int, data: bytes) -> None:
    slot = ends.sent(1)
    spoil(ends.folder.path / "0", at, data)
    assert ends.read(slot, KB) is None
    assert ends.theirs.opened == []


def test_a_segment_that_was_cut_off_is_not_opened(ends: Ends) -> None:
    slot = ends.sent(1)
    with (ends.folder.path / "0").open("r+b") as file:
        file.truncate(segment.WORDS)
    assert ends.read(slot, KB) is None
