"""Generates ``demo.png``, the README's sheet of images: every image is a job of a running fleet.

Usage: ``make up DETACH=1``, then ``python -m infra.docs.demo_image http://127.0.0.1:8080``.
"""

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
from PIL import Image, ImageDraw, ImageFont

from infra.cli.client import Client
from infra.emoji_files import CONTROL, EMOJI

CAT, CAR = "a cat on a white background", "a red car on a green background"
COLOURS = EMOJI / "control" / "colour_cat.png"
PROMPTS = [
    "a red apple on a blue background",
    CAR,
    "a rocket on a purple background",
    "a penguin on a teal background",
    "a sunflower on a gray background",
    "a hamburger on a white background",
    "an owl on a pink background",
]
ENLARGE, CAPTION_PX, GAP_PX = 2, 30, 8
CELL_PX = 64 * ENLARGE
SEED = 7


def main(url: str) -> None:
    """Generate the images and write the sheet."""
    client = Client(url)
    for name in ("twemoji", "outline"):
        body = (EMOJI / "loras" / f"{name}.safetensors").read_bytes()
        requests.put(f"{url}/v1/loras/{name}", data=body, timeout=60).raise_for_status()
    rows = [list(prompts(client)), list(add_ons(client))]
    sheet = paste(rows).quantize(256)  # a third of the bytes, no difference to see
    sheet.save(Path(__file__).with_name("demo.png"), optimize=True)


def prompts(client: Client) -> Iterator[tuple[str, bytes]]:
    """A caption and an image for each prompt."""
    for prompt in PROMPTS:
        yield prompt.removesuffix(" background").replace(" on a ", "\non "), generate(client, prompt)


def add_ons(client: Client) -> Iterator[tuple[str, bytes]]:
    """One prompt with each LoRA and with a ControlNet beside its control image; another with the other."""
    yield "a cat\non white", generate(client, CAT)
    yield "LoRA\ntwemoji", generate(client, CAT, loras={"twemoji": 1.0})
    yield "LoRA\noutline", generate(client, CAT, loras={"outline": 1.0})
    yield "control image:\nmean colours", COLOURS.read_bytes()
    yield "ControlNet\ncolour", generate(client, CAT, controlnets={"colour": COLOURS})
    yield "control image:\nedges", CONTROL.read_bytes()
    yield "ControlNet\nedge", generate(client, CAR, controlnets={"edge": CONTROL})


def generate(client: Client, prompt: str, **add_ons: Any) -> bytes:
    """The PNG of a job."""
    return client.generate(prompt, seed=SEED, **add_ons).images[0]


def paste(rows: list[list[tuple[str, bytes]]]) -> Image.Image:
    """The images side by side on white, each above its caption."""
    width = max(map(len, rows)) * (CELL_PX + GAP_PX) + GAP_PX
    sheet = Image.new("RGB", (width, len(rows) * (CELL_PX + CAPTION_PX + GAP_PX) + GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for row, cells in enumerate(rows):
        for column, (caption, png) in enumerate(cells):
            x, y = GAP_PX + column * (CELL_PX + GAP_PX), GAP_PX + row * (CELL_PX + CAPTION_PX + GAP_PX)
            with Image.open(BytesIO(png)) as image:
                enlarged = image.convert("RGB").resize((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
            sheet.paste(enlarged, (x, y))
            text = (x + CELL_PX / 2, y + CELL_PX + 2)
            draw.multiline_text(text, caption, "black", font, anchor="ma", align="center", spacing=1)
    return sheet


if __name__ == "__main__":
    main(sys.argv[1])
