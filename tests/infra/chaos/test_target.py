from pathlib import Path

import pytest

from infra.chaos.target import filled, own_disk


def test_a_filled_disk_takes_no_byte_and_is_freed_at_the_end(tmp_path: Path) -> None:
    with own_disk(tmp_path / "disk", 4 << 20) as is_mounted:
        if not is_mounted:
            pytest.skip("mounting a disk needs root")
        file = tmp_path / "disk" / "file"
        with filled(tmp_path / "disk"), pytest.raises(OSError, match="No space left"):
            file.write_bytes(b"x" * 8192)
        file.write_bytes(b"x" * 8192)
        assert file.stat().st_size == 8192
    assert list((tmp_path / "disk").iterdir()) == []
