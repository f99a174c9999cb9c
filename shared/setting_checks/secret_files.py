"""Secrets among the settings: each may stand in a file instead, which ``SWIFT_NAME_FILE`` names."""

from collections.abc import Mapping
from pathlib import Path

from shared.errors import InvalidSetting
from shared.setting_checks.errors import PREFIX, SECRETS
from shared.validation_messages import quoted

#: A file that is larger holds something else.
MAX_CHARS = 16_384


def read_secret_files(given: Mapping[str, str]) -> dict[str, str]:
    """Settings by name, with the content of the file in place of each ``NAME_FILE`` of a secret.

    Raises `InvalidSetting`.
    """
    found = dict(given)
    for name in SECRETS:
        path = found.pop(f"{name}_file", "")
        if not path:
            continue
        variable = f"{PREFIX}{name.upper()}"
        if found.get(name):
            raise InvalidSetting(f"{variable} and {variable}_FILE are both set: set one of them")
        found[name] = _read(Path(path), f"{variable}_FILE={quoted(path)}")
    return found


def _read(path: Path, what: str) -> str:
    try:
        with path.expanduser().open() as file:
            text = file.read(MAX_CHARS + 1).strip()
    except OSError as error:
        raise InvalidSetting(f"{what}: {error.strerror or 'it cannot be read'}") from None
    except (UnicodeDecodeError, RuntimeError, ValueError):
        raise InvalidSetting(f"{what}: it is no file of text") from None
    if not text or len(text) > MAX_CHARS or not text.isprintable():
        raise InvalidSetting(f"{what}: the file must hold the secret on one line, and nothing else")
    return text
