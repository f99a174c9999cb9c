"""LoRAs that train layers which a ControlNet takes from its base model: steps are computed beside that."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from shared.errors import ControlNetFailed
from shared.jobs.record import Job
from tests.workers.families.z_image.world import World, read_config
from tests.workers.unet.jobs import upload
from workers.families.controlnet_configs import ControlNetConfigs

#: Names of layers that ControlNets use, and of one that they do not.
SHARED = ("noise_refiner.0.attention.to_q", "context_refiner.1.feed_forward.w1", "t_embedder.mlp.0")
OWN = ("layers.2.attention.to_v",)


def write_lora(world: World, path: Path, names: tuple[str, ...]) -> Path:
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for name in names:
        rows, columns = world.pipe.transformer.get_submodule(name).weight.shape
        tensors[f"transformer.{name}.lora_A.weight"] = torch.randn(4, columns, generator=generator) * 0.2
        tensors[f"transformer.{name}.lora_B.weight"] = torch.randn(rows, 4, generator=generator) * 0.2
    save_file(tensors, path)
    return path


@pytest.fixture
def world(world: World) -> World:
    """Its worker may load the ControlNets that another one serves."""
    names = [f"{world.dtype}-{kind}" for kind in ("1.0", "2.0", "2.1")]
    return World(world.dtype, dataclasses.replace(world.worker, served_controlnets=names))


def who_computed(job: Job) -> list[str]:
    """The worker of each step of a ControlNet."""
    spans = [span for span in job.timeline if span.name.startswith("controlnet ")]
    return [span.worker for span in sorted(spans, key=lambda span: span.start_s)]


@pytest.mark.parametrize("kind", ["1.0", "2.0", "2.1"])
def test_an_image_is_what_diffusers_generates_with_the_lora_fused(
    world: World, tmp_path: Path, kind: str
) -> None:
    path = write_lora(world, tmp_path / "shared.safetensors", SHARED)
    wanted = world.spec(controlnets=[world.controlnet(kind)])
    with_lora = wanted.model_copy(update={"loras": [upload(world.worker, path)]})
    ours, theirs = world.ours(with_lora), world.theirs(with_lora, [path])
    error = np.abs(ours.pixels[0] - theirs.pixels[0])
    change = np.abs(ours.pixels[0] - world.ours(wanted).pixels[0])
    # Weights with a LoRA fused in are rounded: once here, several times there
    if world.dtype == "float32":
        assert error.max() <= 1
    else:
        assert error.mean() < change.mean() / 8
    assert change.max() > 8


def test_a_lora_of_other_layers_leaves_a_controlnet_to_its_workers(world: World, tmp_path: Path) -> None:
    lora = upload(world.worker, write_lora(world, tmp_path / "own.safetensors", OWN))
    wanted = world.spec(controlnets=[world.controlnet("2.1")], loras=[lora])
    worker = dataclasses.replace(world.worker, served_controlnets=[])
    job = World(world.dtype, worker).run(wanted)
    assert job.status == "succeeded", job.error
    assert who_computed(job) == ["controlnet1@test"] * 4


def test_steps_from_the_one_on_at_which_the_lora_arrives_are_computed_here(
    world: World, tmp_path: Path
) -> None:
    lora = upload(world.worker, write_lora(world, tmp_path / "shared.safetensors", SHARED))
    late = world.spec(
        controlnets=[world.controlnet("2.1")],
        loras=[lora],
        lora_loading={"mode": "replay", "steps": {lora.name: 2}},
    )
    job = world.run(late)
    assert job.status == "succeeded", job.error
    assert who_computed(job)[2:] == ["unet1@test"] * 2
    # With the same bits as where all of them are computed beside the base model
    alone = dataclasses.replace(world.worker, controlnet_configs=_other_first_base(world))
    assert World(world.dtype, alone).ours(late).equals(world.ours(late))


def test_a_worker_that_may_not_load_the_controlnet_refuses_the_job(world: World, tmp_path: Path) -> None:
    lora = upload(world.worker, write_lora(world, tmp_path / "shared.safetensors", SHARED))
    worker = dataclasses.replace(world.worker, served_controlnets=[])
    wanted = world.spec(controlnets=[world.controlnet("2.1")], loras=[lora])
    with pytest.raises(ControlNetFailed, match="which a LoRA has patched"):
        World(world.dtype, worker).run(wanted)


def test_a_controlnet_of_another_base_model_is_computed_beside_the_jobs_own(world: World) -> None:
    # Given a ControlNet whose workers have loaded layers of the first of its base models
    worker = dataclasses.replace(world.worker, controlnet_configs=_other_first_base(world))
    job = World(world.dtype, worker).run(world.spec(controlnets=[world.controlnet("2.1")]))
    assert job.status == "succeeded", job.error
    assert who_computed(job) == ["unet1@test"] * 4


def _other_first_base(world: World) -> ControlNetConfigs:
    return ControlNetConfigs(read_config, {f"{world.dtype}-2.1": "another"})
