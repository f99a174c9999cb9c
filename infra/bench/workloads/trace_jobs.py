"""A stream of jobs with the production trace's mix: add-ons per request, and how popular each LoRA is.

The figures are those of the trace in the paper (20 days, more than 500k requests, two services).
"""

import random
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file

from infra.emoji_files import EMOJI

#: Share of requests with 0, 1, 2, 3 ControlNets, and with 0, 1, 2 LoRAs; of services A and B.
CONTROLNETS = ((0.0, 0.305, 0.695, 0.0), (0.019, 0.251, 0.699, 0.031))
LORAS = ((0.002, 0.088, 0.91), (0.072, 0.736, 0.192))
#: The top 24, 146 and 338 LoRAs take 30, 50 and 60 % of service A's calls: Zipf's law with this exponent.
ZIPF = 0.72
LORA_COUNT = 100
#: The embedded ControlNets; a third one in a request is the first again, weaker.
KNOWN_CONTROLNETS = ("edge", "colour")
PROMPTS = (
    "a penguin on a teal background",
    "a red apple on a blue background",
    "a cat on a yellow background",
    "a green tree on a white background",
)


class TraceJob(NamedTuple):
    """One request of the stream; ControlNets and LoRAs with their scales."""

    at_s: float  # after the stream's start
    prompt: str
    seed: int
    controlnets: list[tuple[str, float]]
    loras: list[tuple[str, float]]


def make_stream(count: int, per_s: float, first: int = 0, *, lora_count: int = LORA_COUNT) -> list[TraceJob]:
    """The same ``count`` jobs at every call, ``per_s`` a second on average, both services mixed.

    ``first`` is the seed of the first image: another one makes another stream. ``lora_count``: of the most
    popular LoRAs, how many there are.
    """
    rng, now_s, jobs = random.Random(20 + first), 0.0, []
    weights = [1 / rank**ZIPF for rank in range(1, lora_count + 1)]
    for seed in range(first, first + count):
        service = rng.randrange(2)
        controlnets = rng.choices(range(4), CONTROLNETS[service])[0]
        wanted = rng.choices(range(3), LORAS[service])[0]
        names: list[str] = []
        while len(names) < wanted:
            [rank] = rng.choices(range(lora_count), weights)
            if lora_name(rank) not in names:
                names.append(lora_name(rank))
        now_s += rng.expovariate(per_s)
        jobs.append(
            TraceJob(
                at_s=now_s,
                prompt=rng.choice(PROMPTS),
                seed=seed,
                controlnets=[(KNOWN_CONTROLNETS[i % 2], 1.0 if i < 2 else 0.5) for i in range(controlnets)],
                loras=[(name, round(rng.uniform(0.5, 1.0), 2)) for name in names],
            )
        )
    return jobs


def lora_name(rank: int) -> str:
    """What the LoRA of that popularity is called."""
    return f"style{rank:03}"


def write_loras(folder: Path) -> list[Path]:
    """`LORA_COUNT` files made from the embedded ones: as large, as strong or weaker, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    originals = [load_file(EMOJI / "loras" / f"{name}.safetensors") for name in ("twemoji", "outline")]
    generator = torch.Generator().manual_seed(20)
    paths = []
    for rank in range(LORA_COUNT):
        strength = 0.4 + 0.6 * torch.rand((), generator=generator)
        changed = {
            key: (tensor * strength if ".lora_B." in key else tensor).contiguous()
            for key, tensor in originals[rank % 2].items()
        }
        paths.append(folder / f"{lora_name(rank)}.safetensors")
        save_file(changed, paths[-1])
    return paths
