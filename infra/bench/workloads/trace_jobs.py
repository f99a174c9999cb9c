"""A stream of jobs with the production trace's mix (`addon_mix`), and LoRAs for them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file

from infra.bench.workloads.addon_mix import ZipfChoice, choose_counts, choose_service
from infra.emoji_files import EMOJI

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
    popular = ZipfChoice(lora_count)
    for seed in range(first, first + count):
        controlnets, wanted = choose_counts(rng, choose_service(rng))
        names = [lora_name(rank) for rank in popular.choose(rng, wanted)]
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


def spread(stream: Sequence[TraceJob], per_s: float | None) -> list[TraceJob]:
    """The same jobs at exactly ``per_s`` a second, their gaps as uneven as before; ``None``: all at once."""
    factor = 0.0 if per_s is None else len(stream) / (per_s * stream[-1].at_s)
    return [job._replace(at_s=factor * job.at_s) for job in stream]


def cold(stream: Sequence[TraceJob], run: str, folder: Path) -> tuple[list[TraceJob], list[Path]]:
    """The same jobs with prompts and LoRAs that are new to every cache, and the files of these LoRAs.

    They are made in ``folder`` from those of `write_loras`; as often as two jobs shared one, they still do.
    """
    jobs = [
        job._replace(
            prompt=f"{job.prompt} {run} {job.seed}",
            loras=[(f"{name}{run}", scale) for name, scale in job.loras],
        )
        for job in stream
    ]
    names = sorted({name for job in stream for name, _ in job.loras})
    paths = []
    for name in names:
        paths.append(folder / f"{name}{run}.safetensors")
        # New bytes, too: some caches go by content.
        save_file(load_file(folder / f"{name}.safetensors"), paths[-1], metadata={"run": run})
    return jobs, paths


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
