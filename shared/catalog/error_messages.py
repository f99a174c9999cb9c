"""Error messages for a catalog: one sentence with file, line, key, what is wrong, what was meant."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from shared.catalog.entries import HUB, SINGLE_FILE, Catalog, ControlNetEntry, ModelEntry
from shared.catalog.toml_lines import line_of
from shared.errors import InvalidSetting
from shared.validation_messages import explain, nearest, printable, quoted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_TABLES: Mapping[str, type[BaseModel]] = {"models": ModelEntry, "controlnets": ControlNetEntry}
#: Keys of other programs, and their names here.
_OTHER_NAMES = {
    "nets": "controlnets",
    "net": "controlnets",
    "default": "default_model",
    "steps": "num_inference_steps",
    "cfg": "guidance_scale",
    "cfg_scale": "guidance_scale",
    "sampler": "scheduler",
    "path": "source",
    "file": "source",
    "url": "source",
    "repo": "source",
    "repo_id": "source",
    "base_model": "model",
    "torch_dtype": "dtype",
    "precision": "dtype",
    "cuda_graphs": "engine",
    "compile": "engine",
    "channels_last": "memory_format",
}
_OTHER_DTYPES = {"fp32": "float32", "fp16": "float16", "half": "float16", "bf16": "bfloat16"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w./-]+)?", re.ASCII)
_HUB_URL = re.compile(r"https?://(?:www\.)?huggingface\.co/([\w.-]+/[\w.-]+)/?.*", re.ASCII)


class CatalogErrors:
    """Builds the errors of one catalog file."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text = path, text

    def at(self, keys: Sequence[str | int], why: str) -> InvalidSetting:
        """An error about the value at the path ``keys``; about the whole file if there are none."""
        where = ".".join(map(str, keys))
        line = line_of(self._text, keys)
        return file_error(self._path, f"line {line}: {_short(where)}: {why}" if where else why)

    def from_pydantic(self, details: Sequence["ErrorDetails"], tables: Mapping[str, Any]) -> InvalidSetting:
        """The first of pydantic's findings, unknown keys before missing ones: a misspelt key is both."""
        order = {"extra_forbidden": 0, "missing": 2}
        first = min(details, key=lambda found: order.get(found["type"], 1))
        keys = [key for key in first["loc"] if key != "[key]"][:3]  # further keys are indices of lists
        return self.at(keys, _why(first, keys, tables))


def file_error(path: Path, why: str) -> InvalidSetting:
    """An error about the catalog file ``path``."""
    joint = ", " if why.startswith("line ") else ": "
    return InvalidSetting(printable(f"catalog {path}{joint}{why}"))


def source_error(source: str, path: Path, config: str) -> str | None:
    """Why ``source`` names no model, judged by file names alone; ``None`` if it may.

    ``path`` is the path that it stands for, ``config`` a file that every such diffusers folder has.
    """
    if source.startswith(HUB):
        is_id = _HUB_ID.fullmatch(source.removeprefix(HUB))
        return None if is_id else "must be hub:NAME or hub:OWNER/NAME, and may end with @REVISION"
    if "://" in source:
        found = _HUB_URL.fullmatch(source)
        meant = f"; did you mean {HUB}{found[1]}?" if found else ": download it, and name the folder or file"
        return f"{_short(quoted(source))} is an address{meant}"
    if not source.strip():
        return "is empty"
    if path.is_dir():
        return None if (path / config).is_file() else f"{path} is not a diffusers folder: it has no {config}"
    if not path.exists():
        meant = f"; did you mean {HUB}{source}?" if "/" in source and _HUB_ID.fullmatch(source) else ""
        return f"{path} does not exist{meant}"
    return None if path.suffix == SINGLE_FILE else f"{path} is neither a folder nor a {SINGLE_FILE} file"


def _why(details: "ErrorDetails", keys: Sequence[Any], tables: Mapping[str, Any]) -> str:
    kind, value = details["type"], details["input"]
    if kind == "extra_forbidden":
        return _why_unknown([*map(str, keys)], value)
    if kind == "string_pattern_mismatch":
        return "a name is 1 to 64 letters, digits, dots, hyphens and underscores; first a letter or a digit"
    if kind == "too_short" or (kind == "missing" and keys == ["models"]):
        return "no model: add a table [models.NAME] with its source"
    if kind == "missing" and keys == ["default_model"]:
        models = tables.get("models")
        example = next(iter(models), "NAME") if isinstance(models, dict) else "NAME"
        return f"is missing: add a line such as default_model = {_short(quoted(str(example)))} at the top"
    if kind in ("dict_type", "model_type") and keys[0] in _TABLES:
        return f"must be a table: [{keys[0]}.NAME]"
    if kind == "tuple_type":
        return "must be a name or a list of names"
    why = explain(details)
    if kind == "literal_error" and str(value).lower() in _OTHER_DTYPES:
        why = f"{why.partition(';')[0]}; did you mean {_OTHER_DTYPES[str(value).lower()]}?"
    return why if kind == "missing" or isinstance(value, dict | list) else f"{_short(quoted(value))} {why}"


def _why_unknown(keys: Sequence[str], value: object) -> str:
    """A key that the catalog does not know, at the top or in an entry."""
    name, inner = keys[-1], _TABLES.get(keys[0]) if len(keys) > 1 else None
    if inner is None and name.lower() in ("lora", "loras"):
        return "LoRAs are not listed here: they are the files in the bucket that SWIFT_LORA_BUCKET names"
    if inner is not None and name in ("default_model", "default"):
        return "is unknown here: default_model belongs above the first table"
    if inner is not None and name == "revision":
        return "is unknown here: a revision is part of the source, hub:OWNER/NAME@REVISION"
    known = [field.alias or own for own, field in (inner or Catalog).model_fields.items()]
    near = _OTHER_NAMES.get(name.lower()) or nearest(name, known)
    if near is None or near not in known:
        return f"is unknown; known are {', '.join(known)}"
    if inner is None and near in _TABLES:
        entry = next(iter(value), "NAME") if isinstance(value, dict) else "NAME"
        return f"is unknown; did you mean [{near}.{_short(str(entry))}]?"
    return f"is unknown; did you mean {near}?"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"
