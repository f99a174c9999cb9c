"""Finds the weight files of a part in a model's folder, and checks their headers."""

import json
from pathlib import Path
from typing import Any

from shared.errors import InvalidSafetensors
from shared.storage.safetensors_header import LENGTH_BYTES, Header, header_bytes, parse_header

_SUFFIX = ".safetensors"
#: First bytes of other files that are often found in place of weights.
_OTHER_FORMATS = {
    b"version https://git-lfs": "is a git-lfs pointer, not the file it stands for: run `git lfs pull`",
    b"PK\x03\x04": "is a pickled checkpoint with another suffix; only safetensors are read",
    b"\x80\x02": "is a pickled checkpoint with another suffix; only safetensors are read",
    b"<": "is a web page, not weights: it was downloaded from a wrong address",
}


class Unloadable(Exception):
    """Why a model cannot be loaded, as the end of a sentence."""


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file below ``folder``; raises `Unloadable`."""
    path = folder / name
    if not path.is_file():
        raise Unloadable(f"it has no {name}")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise Unloadable(f"{name} is not valid JSON") from None
    if not isinstance(value, dict):
        raise Unloadable(f"{name} is not a JSON object")
    return value


def has_files(part: Path, stem: str, variant: str | None) -> bool:
    """Whether a part has weights in this variant."""
    return bool(_files(part, stem, variant))


def weight_files(part: Path, stem: str, variant: str | None) -> list[Path]:
    """The files that a part is loaded from: those of the variant, or else those without a variant.

    Raises `Unloadable` if there are none, naming what was found instead.
    """
    files = _files(part, stem, variant) or _files(part, stem, None)
    if files:
        return files
    if not part.is_dir():
        raise Unloadable(f"it has no folder {part.name}")
    others = sorted({file.name.split(".")[1] for file in part.glob(f"{stem}.*{_SUFFIX}")})
    if others:
        raise Unloadable(
            f"{part.name} has weights of variant {' and '.join(others)} only: name it as `variant`"
        )
    if any(part.glob("*.bin")) or any(part.glob("*.ckpt")):
        raise Unloadable(
            f"{part.name} has only pickled weights, which are not read: convert them to safetensors"
        )
    raise Unloadable(f"{part.name} has no weights ({stem}{_SUFFIX})")


def _files(part: Path, stem: str, variant: str | None) -> list[Path]:
    """A single file, or the shards that an index names."""
    whole = part / (f"{stem}.{variant}{_SUFFIX}" if variant else f"{stem}{_SUFFIX}")
    if whole.is_file() or whole.is_symlink():
        return [whole]
    indices = (
        [f"{stem}{_SUFFIX}.index.{variant}.json", f"{stem}.{variant}{_SUFFIX}.index.json"]
        if variant
        else [f"{stem}{_SUFFIX}.index.json"]
    )
    index = next((name for name in indices if (part / name).is_file()), None)
    if index is None:
        return []
    shards = read_json(part, index).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(n, str) for n in shards.values()):
        raise Unloadable(f"{part.name}/{index} lists no files")
    return [part / name for name in sorted(set(shards.values()))]


def read_header(folder: Path, file: Path) -> Header:
    """The header of a safetensors file below ``folder``; raises `Unloadable` unless the file is complete."""
    name = file.relative_to(folder)
    if not file.exists():
        raise Unloadable(f"{name} is missing")
    if not file.is_file():
        raise Unloadable(f"{name} is not a file")
    size = file.stat().st_size
    if not size:
        raise Unloadable(f"{name} is empty")
    with file.open("rb") as opened:
        start = opened.read(32)
        for begins, what in _OTHER_FORMATS.items():
            if start.startswith(begins) and not _is_header(start, size):
                raise Unloadable(f"{name} {what}")
        try:
            opened.seek(LENGTH_BYTES)
            header = parse_header(opened.read(header_bytes(start[:LENGTH_BYTES], size)))
        except InvalidSafetensors as error:
            raise Unloadable(f"{name}: {error}") from None
    if header.file_bytes != size:
        what = "cut short" if size < header.file_bytes else "longer than its header says"
        raise Unloadable(f"{name} is {what}: it has {size} bytes, should have {header.file_bytes}")
    if not header.tensors:
        raise Unloadable(f"{name} holds no weights")
    return header


def _is_header(start: bytes, size: int) -> bool:
    """Whether a file that begins like another format is a safetensors file."""
    return (
        start[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"
        and int.from_bytes(start[:LENGTH_BYTES], "little") < size
    )
