"""The first API key of a local stack that asks for keys: a file of its home, which only its owner reads."""

import os
from pathlib import Path
from typing import NamedTuple

from infra.local.checks import CannotStart
from shared.settings import Settings
from shared.tenants.api_key import ApiKey, check_api_key

FILE = "bootstrap-key"


class BootstrapKey(NamedTuple):
    """A key with all scopes, and where it is kept."""

    text: str
    path: Path
    is_new: bool


def keep_bootstrap_key(settings: Settings) -> BootstrapKey:
    """The key of ``settings``, else that of the last run, else a new one; it is in its file then.

    Raises `CannotStart` for a file that holds no key.
    """
    path = settings.home / FILE
    if settings.bootstrap_key is None and path.exists():
        return BootstrapKey(_read(path), path, is_new=False)
    text = settings.bootstrap_key or str(ApiKey.random())
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
    new.replace(path)
    return BootstrapKey(text, path, is_new=settings.bootstrap_key is None)


def _read(path: Path) -> str:
    try:
        return check_api_key(path.read_text().strip())
    except ValueError:
        raise CannotStart(f"{path} holds no API key: remove it, and the next start makes one") from None
