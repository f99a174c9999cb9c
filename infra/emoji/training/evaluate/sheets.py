"""Sheets of images with captions, enlarged so that the pixels can be seen."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from infra.emoji.training.data.canvas import SIDE_PX, to_image
from infra.emoji.training.data.emoji_sets import Floats

ENLARGED = 3
GAP_PX = 6
TEXT_PX = 32  # two lines
LABEL_PX = 200
LABEL_LETTERS = 30


def gallery(images: Sequence[Floats], captions: Sequence[str], file: Path, *, columns: int = 4) -> None:
    """Each image above its caption."""
    cell = ENLARGED * SIDE_PX + GAP_PX
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * cell, rows * (cell + TEXT_PX)), "white")
    for i, (image, text) in enumerate(zip(images, captions, strict=True)):
        x, y = i % columns * cell, i // columns * (cell + TEXT_PX)
        sheet.paste(_enlarged(image), (x, y))
        _write(sheet, (x + 2, y + cell - 2), text)
    _save(sheet, file)


def table(rows: Sequence[Sequence[Floats]], labels: Sequence[str], heads: Sequence[str], file: Path) -> None:
    """A row of images beside each label, a head above each column."""
    cell = ENLARGED * SIDE_PX + GAP_PX
    size = (LABEL_PX + len(heads) * cell, TEXT_PX + len(rows) * cell)
    sheet = Image.new("RGB", size, "white")
    for column, head in enumerate(heads):
        _write(sheet, (LABEL_PX + column * cell + 2, 10), head)
    for row, (images, label) in enumerate(zip(rows, labels, strict=True)):
        y = TEXT_PX + row * cell
        _write(sheet, (GAP_PX, y + GAP_PX), label)
        for column, image in enumerate(images):
            sheet.paste(_enlarged(image), (LABEL_PX + column * cell, y))
    _save(sheet, file)


def _enlarged(image: Floats) -> Image.Image:
    side = ENLARGED * SIDE_PX
    return to_image(image).resize((side, side), Image.Resampling.NEAREST)


def _write(sheet: Image.Image, place: tuple[int, int], text: str) -> None:
    ImageDraw.Draw(sheet).text(place, textwrap.fill(text, LABEL_LETTERS), fill="black")


def _save(sheet: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(file)
