"""How long each part takes on this machine."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from infra.emoji.training.data.canvas import SIDE_PX
from infra.emoji.training.data.captions import TOKENS, token_ids
from infra.emoji.training.data.examples import LATENT_SIDE
from infra.emoji.training.evaluate.image_generator import ImageGenerator
from infra.emoji.training.models.controlnets import EDGE
from infra.emoji.training.models.folder import load_controlnet

REPEATS, WARMUP = 40, 5


@torch.inference_mode()
def measure(generator: ImageGenerator, out: Path, scale: float) -> dict[str, float]:
    """Median milliseconds; batch 2, as one image needs with guidance, but for the VAE and the whole."""
    pipe, controlnet = generator.pipe, load_controlnet(out / EDGE.folder)
    x = torch.randn(2, 4, LATENT_SIDE, LATENT_SIDE).contiguous(memory_format=torch.channels_last)
    t = torch.tensor(500)
    text = torch.randn(2, TOKENS, pipe.text_encoder.config.hidden_size)
    control = torch.rand(2, 3, SIDE_PX, SIDE_PX)
    ids = token_ids(pipe.tokenizer, ["a cat", ""])
    parts: dict[str, Callable[[], object]] = {
        "unet_ms": lambda: pipe.unet(x, t, text),
        "controlnet_ms": lambda: controlnet(x, t, text, controlnet_cond=control),
        "vae_decode_ms": lambda: pipe.vae.decode(x[:1]),
        "text_encoder_ms": lambda: pipe.text_encoder(ids),
        "image_of_25_steps_ms": lambda: generator.generate(["a cat on a red background"], seed=0),
    }
    repeats = max(3, round(REPEATS * scale))
    return {"threads": float(torch.get_num_threads())} | {
        part: round(_median_ms(run, repeats if part != "image_of_25_steps_ms" else 5), 1)
        for part, run in parts.items()
    }


def _median_ms(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(WARMUP + repeats):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[WARMUP:])
