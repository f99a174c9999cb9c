import os
from pathlib import Path

import pytest

from workers.runtime.trusted_directory import UntrustedDirectory, trusted_directory


def refused(path: Path, *, is_private: bool = False) -> str:
    with pytest.raises(UntrustedDirectory) as caught:
        trusted_directory(path, is_private=is_private)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_missing_folder_is_created_for_this_user_only(tmp_path: Path) -> None:
    folder = trusted_directory(tmp_path / "new" / "cache")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert trusted_directory(folder, is_private=True) == folder


@pytest.mark.parametrize(
    ("mode", "why"), [(0o777, "writable by everybody"), (0o1777, "writable by everybody")]
)
def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path, mode: int, why: str) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    assert "writable by everybody" in refused(tmp_path / "cache")


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o704, 0o777])
def test_a_private_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory").chmod(mode)
    assert "open to other users" in refused(tmp_path / "memory", is_private=True)


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    os.chown(tmp_path / "cache", 4242, -1) if os.geteuid() == 0 else None
    owner = (tmp_path / "cache").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert f"belongs to user {owner}" in refused(tmp_path / "cache")
    assert f"belongs to user {owner}" in refused(tmp_path / "cache", is_private=True)


def test_the_setting_that_names_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(UntrustedDirectory, match=r"^SWIFT_HOME: .*/home is not a folder$"):
        trusted_directory(tmp_path / "home", setting="SWIFT_HOME")


def test_the_users_own_link_is_followed_except_to_a_private_folder(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert trusted_directory(tmp_path / "link")
    assert "is a symbolic link" in refused(tmp_path / "link", is_private=True)
    (tmp_path / "disk").chmod(0o777)
    assert "writable by everybody" in refused(tmp_path / "link")


def test_a_link_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a link away")
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    os.chown(tmp_path / "link", 4242, -1, follow_symlinks=False)
    assert "a symbolic link that belongs to user 4242" in refused(tmp_path / "link")


def test_files_and_dangling_links_are_not_folders(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a folder" in refused(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "leads nowhere" in refused(tmp_path / "link")
    assert "cannot be created" in refused(tmp_path / "file" / "cache")
