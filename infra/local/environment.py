"""Settings as environment variables: for the stack's processes, and in ``.run/env`` for people.

``.run/env`` is ``KEY=value`` lines, quoted where a shell needs it: a shell sources it, `read_env_file`
reads it back.
"""

import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path

from shared.setting_checks.errors import PREFIX
from shared.settings import Settings

#: What Flower takes options from: its host, its login and the like are settings of ours.
FLOWER = "FLOWER_"
#: What processes of the stack are told by a file, if at all.
OWN_SECRETS = frozenset({"SWIFT_BOOTSTRAP_KEY", "SWIFT_API_KEY", "SWIFT_FLOWER_BASIC_AUTH"})
#: What would override or contradict the embedded S3 server's credentials.
OTHER_CREDENTIALS = frozenset({"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"})


def inherit(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process of the stack: this one's, its settings replaced by ``variables``.

    Processes inherit PATH, locale and proxies. No setting is read here: that is `shared.settings`' part.
    """
    dropped = OTHER_CREDENTIALS if "AWS_ACCESS_KEY_ID" in variables else frozenset()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith((PREFIX, FLOWER)) and name not in dropped
    }
    return {**kept, "PYTHONUNBUFFERED": "1", **variables}


def visible_gpus() -> str | None:
    """Which GPUs CUDA shows this process; ``None``: all."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def variables_of(settings: Settings) -> dict[str, str]:
    """Every setting that was given, as the variable that gives it; its paths hold in any folder."""
    given = {name: getattr(settings, name) for name in sorted(settings.model_fields_set)}
    return {PREFIX + name.upper(): _text(value) for name, value in given.items() if value is not None}


def stack_variables(settings: Settings, key_file: Path | None) -> dict[str, str]:
    """What every process of a stack is told.

    ``key_file`` holds the API key of a stack that asks for keys: its API knows it, the command line sends it.
    """
    given = {name: text for name, text in variables_of(settings).items() if name not in OWN_SECRETS}
    names = ("SWIFT_BOOTSTRAP_KEY_FILE", "SWIFT_API_KEY_FILE") if key_file is not None else ()
    return {**given, **{name: str(key_file) for name in names}}


def make_credentials(known: Mapping[str, str]) -> dict[str, str]:
    """S3 credentials: those in ``known``, so that a restart keeps them, else random ones."""
    return {
        "AWS_ACCESS_KEY_ID": known.get("AWS_ACCESS_KEY_ID") or secrets.token_hex(10),
        "AWS_SECRET_ACCESS_KEY": known.get("AWS_SECRET_ACCESS_KEY") or secrets.token_hex(20),
    }


def make_login(known: Mapping[str, str], login: str | None = None) -> dict[str, str]:
    """Who may use Flower: ``login``, USER:PASSWORD, else as in ``known``, so that a restart keeps it, else a
    random password.
    """
    user, _, password = (login or "").partition(":")
    return {
        "FLOWER_USER": user or known.get("FLOWER_USER") or "swift",
        "FLOWER_PASSWORD": password or known.get("FLOWER_PASSWORD") or secrets.token_urlsafe(24),
    }


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of a file that `write_env_file` wrote; none if there is no file."""
    text = path.read_text() if path.exists() else ""
    return dict(word.split("=", 1) for word in shlex.split(text, comments=True) if "=" in word)


def write_env_file(path: Path, variables: Mapping[str, str]) -> None:
    """Write the variables for their owner's eyes only; the file appears whole."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    new.replace(path)


def _text(value: object) -> str:
    if isinstance(value, Path):
        return str(value.resolve())
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
