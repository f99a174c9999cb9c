"""Shared memory is used only in a folder to which no other user can have written."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.transport.backends.host_memory import find_host_memory


def as_a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def as_a_file(folder: Path) -> None:
    folder.touch()


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def open_to_readers(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


@pytest.mark.parametrize("prepare", [as_a_link, as_a_file, open_to_all, open_to_readers])
def test_a_folder_that_another_user_could_have_prepared_is_not_used(
    prepare: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(tmp_path / f"swiftdiffusion-{os.geteuid()}")
    assert find_host_memory(tmp_path) is None
    assert "residuals go through Redis" in caplog.text


def test_a_new_folder_is_closed_to_other_users(tmp_path: Path) -> None:
    memory = find_host_memory(tmp_path)
    assert memory is not None
    assert memory.folder.stat().st_mode & 0o777 == 0o700
    again = find_host_memory(tmp_path)
    assert again is not None
    assert again.token == memory.token


def test_a_system_without_shared_memory_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_host_memory(tmp_path / "shm") is None
    assert caplog.text == ""


def test_folders_of_living_processes_are_told_from_those_of_dead_ones(tmp_path: Path) -> None:
    memory = find_host_memory(tmp_path)
    assert memory is not None
    folder = memory.make_worker_folder()
    assert memory.is_alive(folder.name)
    folder.remove()
    assert not memory.is_alive(folder.name)
