"""UNets and ControlNets as graphs: the bits of eager stages, whatever changes between two steps."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.fake_graphs import GraphDevice
from tests.tiny_models import LAYOUTS, make_controlnet, make_unet, make_union
from workers.devices.base import Device
from workers.engines.base import Engine
from workers.engines.eager import EAGER
from workers.engines.graphs import GraphEngine
from workers.families.staged_forward import run_to_end
from workers.families.unet.conditioning import UNetConditioning
from workers.families.unet.controlnet import UNetControlNet
from workers.families.unet.controlnet_union import UNetControlNetUnion
from workers.families.unet.forward import staged_forward
from workers.families.unet.projection_cache import cache_projections, find_projections
from workers.families.unet.stages import UNetStages

#: The second is divisible by nothing that the UNet divides by.
SIZES = [(16, 16), (11, 13)]


class Models:
    """A UNet and its ControlNet on one device, with an engine of graphs for each."""

    def __init__(
        self,
        layout: str = "sdxl",
        device: Device | None = None,
        dtype: torch.dtype = torch.float32,
        union: bool = False,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.device = device or GraphDevice()
        where: dict[str, Any] = {
            "device": self.device.torch_device,
            "dtype": dtype,
            "memory_format": memory_format,
        }
        self.unet = make_unet(layout).to(**where)
        self.where = {"device": self.device.torch_device, "dtype": dtype}
        controlnet: Any = make_union(make_unet(layout)) if union else make_controlnet(make_unet(layout))
        controlnet.to(**where)
        cache_projections(self.unet)
        cache_projections(controlnet)
        kind = UNetControlNetUnion if union else UNetControlNet
        self.mode = 1 if union else None
        self.controlnet = kind("controlnet", controlnet)
        self.stages = UNetStages(self.unet)
        self.engine = GraphEngine(self.device, "unet")
        self.controlnet_engine = GraphEngine(self.device, "controlnet")

    def numbers(self, seed: int, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(**self.where)

    def conditioning(self, seed: int, rows: int = 2) -> UNetConditioning:
        config = self.unet.config
        added = {}
        if config.addition_embed_type:
            sizes = torch.full((rows, 6), 64.0, device=self.device.torch_device)
            added = {"text_embeds": self.numbers(seed, rows, 64), "time_ids": sizes}
        width = config.time_cond_proj_dim
        guidance = None if width is None else self.numbers(seed, rows, width)
        return UNetConditioning(self.numbers(seed, rows, 32, config.cross_attention_dim), added, guidance)

    @torch.inference_mode()
    def step(
        self, i: int, size: tuple[int, int], prompt: "Prompt", engines: tuple[Engine, Engine], guided: bool
    ) -> Tensor:
        """The prediction of step ``i``, with residuals if it is guided by the ControlNet."""
        t = torch.tensor(900 - 10 * i, device=self.device.torch_device)
        x = self.numbers(i, len(prompt.conditioning.embeddings), self.unet.config.in_channels, *size)
        forward = staged_forward(self.stages, x, t, prompt.conditioning, engines[0])
        index = next(forward)
        if not guided:
            return run_to_end(forward, index, None)
        residuals = {
            index: residual * 0.7
            for index, residual in self.controlnet.forward(
                x[:, :4], t, prompt.prepared, prompt.control, self.mode, engines[1]
            )
        }
        return run_to_end(forward, index, residuals.__getitem__)

    def compare(self, i: int, size: tuple[int, int], prompt: "Prompt", *, guided: bool = False) -> None:
        expected = self.step(i, size, prompt, (EAGER, EAGER), guided)
        result = self.step(i, size, prompt, (self.engine, self.controlnet_engine), guided)
        assert torch.equal(result, expected), f"step {i}"


class Prompt:
    """What a job has beside latents: made once."""

    def __init__(self, models: Models, seed: int, size: tuple[int, int], rows: int = 2) -> None:
        with torch.inference_mode():
            self.conditioning = models.conditioning(seed, rows)
            image = torch.rand(1, 3, 4 * size[0], 4 * size[1], generator=torch.Generator().manual_seed(seed))
            self.prepared = models.controlnet.prepare(self.conditioning.controlnet_inputs)
            self.control = models.controlnet.embed(image, rows)


def replays(models: Models) -> list[int]:
    assert isinstance(models.device, GraphDevice)
    return [pool.replays for pool in models.device.pools]


#: Each layout in one of the sizes, in turn, and those that others are made of in both.
SHAPES = [*zip(LAYOUTS, itertools.cycle(SIZES)), ("sd1", SIZES[1]), ("sdxl", SIZES[1])]


@pytest.mark.parametrize(("layout", "size"), SHAPES)
def test_graphs_have_the_bits_of_eager_stages(layout: str, size: tuple[int, int]) -> None:
    models = Models(layout)
    prompt = Prompt(models, 1, size)
    for i in range(8):
        models.compare(i, size, prompt, guided=i % 3 != 0)
    assert (models.engine.name, models.controlnet_engine.name) == ("graphs", "graphs")
    assert all(count > 10 for count in replays(models))


def test_a_union_of_controlnets_has_them_too() -> None:
    models = Models("sdxl", union=True)
    prompt = Prompt(models, 1, SIZES[0])
    for i in range(4):
        models.mode = i % 2
        models.compare(i, SIZES[0], prompt, guided=True)
        models.compare(i, SIZES[0], prompt, guided=True)
    assert models.controlnet_engine.name == "graphs"


def test_jobs_whose_steps_alternate_keep_their_own_prompts() -> None:
    models = Models()
    prompts = [Prompt(models, seed, SIZES[0]) for seed in (1, 2)]
    for i in range(8):
        models.compare(i, SIZES[0], prompts[i % 2], guided=True)


def test_branches_of_one_job_keep_their_own_keys_and_values() -> None:
    models = Models()
    both = models.conditioning(1, rows=4)
    size = SIZES[0]
    prompts = [Prompt(models, seed, size) for seed in (1, 2)]
    for prompt, rows in zip(prompts, (slice(0, 2), slice(2, 4)), strict=True):
        prompt.conditioning = UNetConditioning(
            both.embeddings[rows], {name: tensor[rows] for name, tensor in both.added.items()}
        )
    for i in range(4):
        for prompt in prompts:
            models.compare(i, size, prompt)


def test_sizes_alternate_and_old_ones_are_captured_again() -> None:
    models = Models()
    models.engine = GraphEngine(models.device, "unet", max_shapes=1)
    prompts = {size: Prompt(models, 1, size) for size in SIZES}
    for i in range(8):
        size = SIZES[i // 2 % 2]
        models.compare(i, size, prompts[size], guided=True)


@pytest.mark.parametrize("part", ["attn1.to_q", "attn2.to_k", "attn2.to_v", "conv1"])
def test_weights_that_a_lora_patches_in_place_count_from_the_next_step(part: str) -> None:
    models = Models()
    prompt = Prompt(models, 1, SIZES[0])
    modules = [module for name, module in models.unet.named_modules() if name.endswith(part)]
    assert modules
    for i in range(8):
        models.compare(i, SIZES[0], prompt, guided=True)
        if i in (2, 5):
            for module in modules:
                module.weight.detach().mul_(1.25)


@pytest.mark.parametrize("way", ["foreach", "addmm"])
def test_keys_and_values_notice_every_way_in_which_weights_are_patched(way: str) -> None:
    models = Models()
    prompt = Prompt(models, 1, SIZES[0])
    weights = [layer.weight.detach() for layer in find_projections(models.unet)]
    for i in range(6):
        models.compare(i, SIZES[0], prompt)
        if i == 3:
            _patch(way, weights)


@torch.no_grad()
def _patch(way: str, weights: list[Tensor]) -> None:
    if way == "foreach":
        torch._foreach_copy_(weights, [1.5 * weight for weight in weights])
        return
    for weight in weights:
        a, b = torch.ones(1, weight.shape[1]), torch.ones(weight.shape[0], 1)
        torch.addmm(weight.clone(), b, a, out=weight)


def test_two_steps_of_one_controlnet_may_be_under_way_at_once() -> None:
    # Given a job that has one ControlNet at two positions, both claimed by one worker
    models = Models()
    size = SIZES[0]
    prompts = [Prompt(models, seed, size) for seed in (1, 2)]
    t = torch.tensor(500)
    x = models.numbers(1, 2, 4, *size)

    @torch.inference_mode()
    def residuals(engine: Engine) -> list[Tensor]:
        forwards = [
            models.controlnet.forward(x, t, prompt.prepared, prompt.control, None, engine)
            for prompt in prompts
        ]
        return [one * 1.0 for pair in zip(*forwards, strict=True) for _, one in pair]

    expected = residuals(EAGER)
    for _ in range(4):
        assert all(map(torch.equal, residuals(models.controlnet_engine), expected))


def test_rows_of_jobs_that_have_moved_on_are_dropped_from_captured_features() -> None:
    models = Models()
    size = SIZES[0]
    prompt = Prompt(models, 1, size)
    t, x = torch.tensor(500), models.numbers(1, 2, 4, *size)

    @torch.inference_mode()
    def residuals(engine: Engine) -> list[Tensor]:
        forward = models.controlnet.forward(x, t, prompt.prepared, prompt.control, None, engine)
        forward.select_rows(torch.tensor([False, True]))
        return [residual * 1.0 for _, residual in forward]

    expected = residuals(EAGER)
    for _ in range(4):
        assert all(map(torch.equal, residuals(models.controlnet_engine), expected))


def test_groups_of_residuals_are_those_of_the_base_models_blocks() -> None:
    models = Models("sd1")
    assert sum(models.controlnet.groups, ()) == models.controlnet.order
    counts = [len(parts.block.resnets) for parts in models.stages.up_blocks]
    assert [len(group) for group in models.controlnet.groups] == [counts[0] + 1, *counts[1:]]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["sdxl", "sd1"])
def test_graphs_of_a_gpu_have_the_bits_of_its_eager_kernels(
    layout: str, dtype: torch.dtype, memory_format: Any, cuda: Device
) -> None:
    models = Models(layout, cuda, dtype, memory_format=memory_format)
    sizes = [(32, 32), (24, 40)]
    prompts = [Prompt(models, seed, size) for seed, size in enumerate(sizes)]
    for i in range(16):
        which = i // 4 % 2
        models.compare(i, sizes[which], prompts[which], guided=i % 3 != 0)
        if i == 9:
            for layer in find_projections(models.unet):
                layer.weight.detach().mul_(1.25)
    assert (models.engine.name, models.controlnet_engine.name) == ("graphs", "graphs")
    assert models.engine.nbytes > 0


def test_a_capture_that_fails_on_a_gpu_leaves_it_usable(cuda: Device) -> None:
    models = Models("sdxl", cuda, torch.float16)
    prompt = Prompt(models, 1, SIZES[0])
    block = models.unet.mid_block
    forward: Callable[..., Tensor] = block.forward

    def waiting(*args: Any, **kwargs: Any) -> Tensor:
        result = forward(*args, **kwargs)
        result.sum().item()  # not permitted while a stream is captured
        return result

    block.forward = waiting
    for i in range(4):
        models.compare(i, SIZES[0], prompt)
    assert models.engine.name == "eager"
    assert models.engine.fallback_reason
    assert not cuda.is_lost()


def test_a_thread_that_uses_the_gpu_breaks_no_capture(cuda: Device) -> None:
    models = Models("sdxl", cuda, torch.float16)
    prompts = {size: Prompt(models, 1, size) for size in ((16, 16), (24, 16), (16, 24), (24, 24))}
    is_over = threading.Event()

    def use() -> None:  # as LoRAs that are prepared, previews, and models that are loaded do
        while not is_over.is_set():
            with cuda.on_stream("weights"):
                made = torch.ones(1 << 20, device=cuda.torch_device) * 2
            cuda.record().wait()
            del made
            cuda.synchronize()
            cuda.release_cached()

    thread = threading.Thread(target=use)
    thread.start()
    try:
        for i in range(5):
            for size, prompt in prompts.items():
                models.compare(i, size, prompt, guided=True)
    finally:
        is_over.set()
        thread.join()
    assert (models.engine.name, models.controlnet_engine.name) == ("graphs", "graphs")
