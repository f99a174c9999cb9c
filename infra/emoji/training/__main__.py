"""``python -m infra.emoji.training --out DIR``: the embedded model, from emoji to measurements."""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from infra.emoji.training.evaluate.report import evaluate
from infra.emoji.training.models import controlnets
from infra.emoji.training.models.folder import MODEL
from infra.emoji.training.stages import base, controlnet, lora, vae

#: A stage reads what the stages before it left in the output folder.
Stage = Callable[[Path, Path, float], None]


def train_loras(out: Path, data: Path, scale: float) -> None:
    """Both styles."""
    for style in lora.STYLES:
        lora.train(style, out, data, scale)


def train_edge(out: Path, data: Path, scale: float) -> None:
    """The ControlNet that reads edge maps."""
    controlnet.train(controlnets.EDGE, out, data, scale)


def train_colour(out: Path, data: Path, scale: float) -> None:
    """The ControlNet that reads colour maps."""
    controlnet.train(controlnets.COLOUR, out, data, scale)


STAGES: dict[str, Stage] = {
    "vae": vae.train,
    "base": base.train,
    "controlnet": train_edge,
    "colour": train_colour,
    "lora": train_loras,
    "evaluate": evaluate,
}
#: The last thing each stage writes: where it is there, ``--stage all`` goes on to the next.
RESULTS = {
    "vae": f"{MODEL}/vae/config.json",
    "base": f"{MODEL}/model_index.json",
    "controlnet": f"{controlnets.EDGE.folder}/config.json",
    "colour": f"{controlnets.COLOUR.folder}/config.json",
    "lora": f"loras/{lora.STYLES[-1].name}.kohya.safetensors",
    "evaluate": "metrics.json",
}


def main() -> None:
    """Run the stages asked for."""
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    data = options.data or options.out / "data"
    if options.stage != "all":
        STAGES[options.stage](options.out, data, options.scale)
        return
    for name, run in STAGES.items():
        if (options.out / RESULTS[name]).exists():
            print(f"{name}: done before")
        else:
            run(options.out, data, options.scale)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.emoji.training", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, as it would ship")
    parser.add_argument("--data", type=Path, help="folder for the emoji packages (default: OUT/data)")
    parser.add_argument(
        "--stage",
        choices=[*STAGES, "all"],
        default="all",
        help="one stage, done again; or all that have not been done (default)",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of all steps and measurements")
    parser.add_argument("--threads", type=int, default=1, help="more than 2 do not help a model this small")
    return parser


if __name__ == "__main__":
    main()
