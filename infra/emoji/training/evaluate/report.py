"""Measures a trained folder and shows what it generates: ``metrics.json``, ``images/``, ``control/``."""

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from infra.emoji.training.data.canvas import to_image
from infra.emoji.training.data.emoji_sets import NOTO, SMALL_SPRITE_PX, SPRITE_PX, sprites
from infra.emoji.training.data.subjects import NAMES
from infra.emoji.training.evaluate import late_lora, prompts, retrieval, sheets, speed, steering
from infra.emoji.training.evaluate.image_generator import ImageGenerator
from infra.emoji.training.evaluate.prompts import Steered
from infra.emoji.training.models import controlnets
from infra.emoji.training.models.controlnets import ControlNet
from infra.emoji.training.models.folder import load_controlnet

LORAS = ("twemoji", "outline")


def evaluate(out: Path, data: Path, scale: float) -> None:
    """Measure everything in ``out``; a ``scale`` below 1 looks at fewer images."""
    generator = ImageGenerator(out)
    samples = generator.generate(list(prompts.SAMPLES), seed=7)
    sheets.gallery(list(samples), prompts.SAMPLES, out / "images" / "samples.png")
    _show_controlnet(generator, out, data, controlnets.EDGE, prompts.EDGES)
    _show_controlnet(generator, out, data, controlnets.COLOUR, prompts.COLOUR_MAPS)
    metrics: dict[str, Any] = {
        "retrieval": retrieval.measure(generator, data, scale),
        "edge_f1": steering.measure_edge(generator, out, data, scale),
        "colour_error": steering.measure_colour(generator, out, data, scale),
        "speed": speed.measure(generator, out, scale),
        "late_lora": _measure_loras(generator, out, scale),
    }
    (out / "metrics.json").write_text(json.dumps(_plain(metrics), indent=2) + "\n")


def _show_controlnet(
    generator: ImageGenerator, out: Path, data: Path, controlnet: ControlNet, examples: tuple[Steered, ...]
) -> None:
    """Write the examples' control images, and a sheet of what they do."""
    emoji = {size_px: sprites(NOTO, data, size_px) for size_px in (SPRITE_PX, SMALL_SPRITE_PX)}
    controls = [
        controlnet.control(example.image(emoji[example.size_px][NAMES.index(example.subject)]))
        for example in examples
    ]
    (out / "control").mkdir(exist_ok=True)
    for number, (example, control) in enumerate(zip(examples, controls, strict=True)):
        kind = number if controlnet is controlnets.EDGE else controlnet.name
        to_image(control).save(out / "control" / f"{kind}_{example.subject.replace(' ', '_')}.png")

    asked = [example.prompt for example in examples]
    without = generator.generate(asked, seed=50)
    generate_with_controlnet = generator.generate_with_controlnet(
        asked, 50, load_controlnet(out / controlnet.folder), controls
    )
    sheets.table(
        list(zip(controls, without, generate_with_controlnet, strict=True)),
        [f"{example.prompt} [{controlnet.name}: {example.subject}]" for example in examples],
        ("control", "without", "with"),
        out / "images" / f"{controlnet.name}.png",
    )


def _measure_loras(generator: ImageGenerator, out: Path, scale: float) -> dict[str, Any]:
    curves = {name: late_lora.measure(generator, out / "loras", name, scale) for name in LORAS}
    sheets.table(
        list(zip(curves[LORAS[0]].plain, *(curve.styled for curve in curves.values()), strict=True)),
        prompts.STYLED,
        ("base", *LORAS),
        out / "images" / "lora.png",
    )
    return {name: curve.points for name, curve in curves.items()}


def _plain(value: Any) -> Any:
    """``value`` as JSON knows it, its numbers rounded to four places: the rest is noise."""
    if isinstance(value, float):
        return round(value, 4)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
