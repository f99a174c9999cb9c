"""Directories whose files are trusted, because only this user or root can have written them."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from shared.errors import InvalidSetting


class UntrustedDirectory(InvalidSetting):
    """Another user could place or change files in the directory, or it is not a directory."""


def trusted_directory(path: Path, *, setting: str = "", is_private: bool = False) -> Path:
    """Create the directory with mode 700 if it is missing, and check it; raises `UntrustedDirectory`.

    An existing directory must belong to this user or root and must not be writable by everybody; a symbolic
    link to it must belong to one of them, too. With ``is_private`` it must not be a link, must belong to this
    user and must be closed to all others. ``setting`` is the variable that names it or a parent of it.
    """
    named = f"{setting}: {path}" if setting else str(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
    except OSError as error:
        raise UntrustedDirectory(f"{named} cannot be created: {error.strerror}") from None
    why = _why_unsafe(path, is_private)
    if why is not None:
        raise UntrustedDirectory(f"{named} {why}")
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
        return "is not a folder"
    if found.st_uid not in own:
        return f"belongs to user {found.st_uid}, who could change its files: name another folder"
    if is_private and found.st_mode & 0o077:
        return "is open to other users, who may have changed its files: remove it"
    if found.st_mode & 0o002:
        return "is writable by everybody: take that right away (chmod o-w), or name another folder"
    if not os.access(path, os.W_OK | os.X_OK):
        return "is not writable for this user"
    return None
