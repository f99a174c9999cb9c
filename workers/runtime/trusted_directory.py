"""Folders whose files are trusted: nobody but this user, or root, may have put them there."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from shared.errors import InvalidSetting


class UnsafeFolder(InvalidSetting):
    """A folder in which another user could place or change files, or that is none."""


def own_folder(path: Path, *, setting: str = "", is_private: bool = False) -> Path:
    """Make the folder if it is missing, for this user alone, and check it; raises `UnsafeFolder`.

    A folder that is there must belong to this user or to root and not be writable by everybody; a link to
    it must be theirs, too. ``is_private``: it is no link, this user's, and closed to everybody else.
    ``setting`` is the variable that names the folder or one above it.
    """
    named = f"{setting}: {path}" if setting else str(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
    except OSError as error:
        raise UnsafeFolder(f"{named} cannot be made: {error.strerror}") from None
    why = _why_unsafe(path, is_private)
    if why is not None:
        raise UnsafeFolder(f"{named} {why}")
    return path


def _why_unsafe(path: Path, is_private: bool) -> str | None:
    own = {os.geteuid()} if is_private else {os.geteuid(), 0}
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        if is_private:
            return "is a symbolic link: remove it"
        if found.st_uid not in own:
            return f"is a symbolic link that belongs to user {found.st_uid}: name another folder"
        try:
            found = path.stat()
        except OSError:
            return "is a symbolic link that leads nowhere"
    if not stat.S_ISDIR(found.st_mode):
        return "is no folder"
    if found.st_uid not in own:
        return f"belongs to user {found.st_uid}, who could change its files: name another folder"
    if is_private and found.st_mode & 0o077:
        return "is open to other users, who may have changed its files: remove it"
    if found.st_mode & 0o002:
        return "is writable by everybody: take that right away (chmod o-w), or name another folder"
    if not os.access(path, os.W_OK | os.X_OK):
        return "is not writable for this user"
    return None
