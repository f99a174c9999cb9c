"""The training images: two emoji sets from npm, as premultiplied sprites."""

import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.emoji.training.data.subjects import SHORT_NAMES

VERSION = "16.0.0"
#: Noto Emoji (Apache-2.0) and Twemoji (CC-BY 4.0); see LICENSES.md.
NOTO, TWEMOJI = "google", "twitter"

#: The usual side of a sprite, and that of a smaller one that can be moved further.
SPRITE_PX, SMALL_SPRITE_PX = 52, 44

Floats = NDArray[np.float32]


def fetch(emoji_set: str, data: Path) -> Path:
    """Download and unpack the npm package of ``emoji_set`` into ``data``, unless it is there already."""
    package = f"emoji-datasource-{emoji_set}"
    folder = data / package
    if folder.exists():
        return folder
    data.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["npm", "pack", f"{package}@{VERSION}", "--silent", "--pack-destination", str(data)],
        check=True,
        stdout=subprocess.DEVNULL,  # it would print the archive's name
    )
    half = data / f"{package}.part"  # renamed when complete: an interrupted download is not mistaken
    with tarfile.open(data / f"{package}-{VERSION}.tgz") as archive:
        wanted = ("package/emoji.json", f"package/img/{emoji_set}/64/")
        members = [member for member in archive.getmembers() if member.name.startswith(wanted)]
        archive.extractall(half, members, filter="data")
    (half / "package").rename(folder)
    half.rmdir()
    return folder


def descriptions(data: Path) -> list[str]:
    """The name of every emoji in the set: extra text for the tokenizer to learn from."""
    return [str(entry["name"]).lower() for entry in _entries(fetch(NOTO, data))]


def sprites(emoji_set: str, data: Path, size_px: int = SPRITE_PX) -> Floats:
    """All subjects in one drawing style, ``(72, size_px, size_px, 4)``, premultiplied, 0 to 1."""
    folder = fetch(emoji_set, data)
    files = {entry["short_name"]: entry["image"] for entry in _entries(folder)}
    images = folder / "img" / emoji_set / "64"
    return np.stack([_sprite(images / files[name], size_px) for name in SHORT_NAMES])


def _entries(folder: Path) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = json.loads((folder / "emoji.json").read_text())
    return entries


def _sprite(file: Path, size_px: int) -> Floats:
    rgba = np.asarray(Image.open(file).convert("RGBA"), np.float32) / 255
    rgba[..., :3] *= rgba[..., 3:]  # before resizing, or transparent pixels bleed their colour
    channels = [
        np.asarray(Image.fromarray(rgba[..., i]).resize((size_px, size_px), Image.Resampling.LANCZOS))
        for i in range(4)
    ]
    return np.stack(channels, -1, dtype=np.float32).clip(0, 1)
