"""A model family of one linear layer, with a ControlNet and a LoRA of one: all that a new family has to say.

It differs from UNets wherever families may: latents are tokens, the conditional rows come first, guidance
begins above scale 0, its LoRA part is called ``transformer``, and the forward asks for one residual.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from shared.families import registry as facts_registry
from shared.families.base import Config, FamilyFacts
from shared.families.controlnets import ControlPlan, ModelSignature
from shared.jobs.spec import JobSpec
from workers.engines.base import Engine
from workers.engines.eager import EAGER
from workers.families import registry
from workers.families.base import BaseModel
from workers.families.base_controlnet import ControlNet, ControlNetForward, ControlNetSource
from workers.families.base_family import ModelSource
from workers.families.base_latents import LatentSpace
from workers.families.guidance import CFGBranch, Guidance
from workers.families.staged_forward import StagedForward
from workers.families.text_encoder_weights import TextEncoderWeights
from workers.lora.targets import LoraTarget

#: Channels of a token, and pixels of its side.
CHANNELS, PATCH_PX = 3, 8
_WEIGHTS = "diffusion_pytorch_model.safetensors"
SCHEDULER: dict[str, Any] = {"beta_schedule": "scaled_linear", "clip_sample": False}


@dataclass(frozen=True, kw_only=True)
class ToyFacts(FamilyFacts):
    """What the web knows of it."""

    def is_family_of(self, config: Config) -> bool:
        return config.get("_class_name") in ("ToyTransformer", "ToyControlNet")

    def is_family_of_file(self, names: Sequence[str]) -> bool:
        return False

    def signature(self, config: Config) -> ModelSignature:
        return ModelSignature(self.name, self.label, f"channels {config.get('channels')}")

    def control_plan(self, controlnet: Config, base: Config | None) -> ControlPlan:
        return ControlPlan((0,))


TOY = ToyFacts(
    name="toy",
    label="Toy",
    pipelines=frozenset({"Toy"}),
    denoiser="transformer",
    parts=("transformer",),
    tokenizers={},
    controlnet_classes=("ToyControlNet",),
    lora_parts=("transformer",),
)


class ToyNetwork(nn.Module):
    """One linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.config = {"_class_name": "ToyTransformer", "channels": CHANNELS}
        self.linear = nn.Linear(CHANNELS, CHANNELS, bias=False)


@dataclass(frozen=True)
class ToyConditioning:
    vectors: Tensor  # (b, CHANNELS), the conditional rows first

    @property
    def controlnet_inputs(self) -> Mapping[str, Tensor]:
        return {"vectors": self.vectors}

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        return self.controlnet_inputs

    def branch(self, branch: CFGBranch) -> "ToyConditioning":
        cond, uncond = self.vectors.chunk(2)
        return {
            CFGBranch.BOTH: self,
            CFGBranch.COND: ToyConditioning(cond),
            CFGBranch.UNCOND: ToyConditioning(uncond),
        }[branch]


class ToyGuidance(Guidance):
    first = CFGBranch.COND

    def __init__(self, scale: float) -> None:
        super().__init__(is_guided=scale > 0)
        self._scale = scale

    def combine(self, prediction: Tensor) -> Tensor:
        if not self.is_guided:
            return prediction
        cond, uncond = prediction.chunk(2)
        return cond + self._scale * (cond - uncond)


class ToyLatents(LatentSpace):
    """Tokens, ``(n, h/8 * w/8, CHANNELS)``."""

    dtype = torch.float32

    def sample_noise(self, generators: Sequence[Generator], size: tuple[int, int]) -> Tensor:
        tokens = (size[0] // PATCH_PX) * (size[1] // PATCH_PX)
        return torch.stack([torch.randn(tokens, CHANNELS, generator=generator) for generator in generators])

    def encode(self, pixels: Tensor) -> Any:
        raise NotImplementedError

    def shrink_mask(self, mask: Tensor, count: int) -> Tensor:
        raise NotImplementedError

    def decode(self, latents: Tensor, size: tuple[int, int]) -> Tensor:
        width, height = (side // PATCH_PX for side in size)
        small = latents.reshape(len(latents), height, width, CHANNELS).permute(0, 3, 1, 2)
        return torch.tanh(small).repeat_interleave(PATCH_PX, 2).repeat_interleave(PATCH_PX, 3)

    def preview(self, row: Tensor, size: tuple[int, int]) -> str:
        file = io.BytesIO()
        as_images(self.decode(row, size))[0].save(file, format="PNG")
        return base64.b64encode(file.getvalue()).decode()


@dataclass(frozen=True)
class ToyLoraTargets:
    parts: Mapping[str, nn.Module]

    def find(self, groups: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, LoraTarget]]:
        yield from ((stem, LoraTarget("transformer", stem.removeprefix("transformer."))) for stem in groups)


class ToyModel(BaseModel):
    stages = ("before", "after")
    device = torch.device("cpu")
    dtype = torch.float32
    scheduler_config = SCHEDULER

    def __init__(self, name: str, network: ToyNetwork) -> None:
        super().__init__(name, TOY, {"transformer": network})
        self.network = network
        self.latents = ToyLatents()

    @property
    def lora_targets(self) -> ToyLoraTargets:
        return ToyLoraTargets(self.lora_parts)

    def size(self, width: int | None, height: int | None) -> tuple[int, int]:
        return width or 64, height or 64

    text_encoders_sha256 = ""  # it has none

    def text_inputs(self, spec: JobSpec) -> dict[str, Any]:
        texts = [spec.prompt, spec.negative_prompt or ""] if self.guidance(spec).is_guided else [spec.prompt]
        return {"texts": texts}

    def encode_texts(self, spec: JobSpec) -> Mapping[str, Tensor]:
        return {"vectors": torch.stack([text_vector(text) for text in self.text_inputs(spec)["texts"]])}

    def make_conditioning(self, spec: JobSpec, texts: Mapping[str, Tensor]) -> ToyConditioning:
        return ToyConditioning(texts["vectors"].repeat_interleave(spec.num_images, 0))

    def guidance(self, spec: JobSpec) -> ToyGuidance:
        return ToyGuidance(spec.guidance_scale)

    def read_image(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        raise NotImplementedError

    def read_mask(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        raise NotImplementedError

    def read_control_image(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        pixels = torch.from_numpy(np.asarray(image.convert("RGB").resize(size), dtype=np.float32) / 255)
        return pixels.permute(2, 0, 1).unsqueeze(0).contiguous()

    def staged_forward(
        self,
        x: Tensor,
        t: Tensor,
        conditioning: Any,
        engine: Engine = EAGER,
        plan: ControlPlan | None = None,
    ) -> StagedForward:
        hidden = x + conditioning.vectors.unsqueeze(1) + t / 1000
        residual = yield 0
        return self.network.linear(hidden if residual is None else hidden + residual)


class ToyControlNet(ControlNet):
    order = (0,)

    def embed(self, control: Tensor, batch: int) -> Tensor:
        tokens = nn.functional.avg_pool2d(control, PATCH_PX).flatten(2).transpose(1, 2)
        return tokens.expand(batch, -1, -1)

    def prepare(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return inputs

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        prepared: Mapping[str, Tensor],
        control: Tensor,
        mode: int | None = None,
        engine: Engine = EAGER,
    ) -> "ToyControlNetForward":
        return ToyControlNetForward(self.model.linear, x + control + prepared["vectors"].unsqueeze(1))

    def scale(self, residual: Tensor, index: int, scale: float, *, guess_mode: bool) -> Tensor:
        return residual * scale


class ToyControlNetForward(ControlNetForward):
    def __init__(self, linear: nn.Module, hidden: Tensor) -> None:
        self._linear, self._hidden = linear, hidden
        self._left = iter((0,))

    @torch.inference_mode()
    def __next__(self) -> tuple[int, Tensor]:
        return next(self._left), self._linear(self._hidden)

    def select_rows(self, rows: Tensor) -> None:
        self._hidden = self._hidden[rows]


class ToyFamily:
    facts = TOY

    def load_model(self, source: ModelSource) -> ToyModel:
        return ToyModel(source.name, _load(Path(source.path) / TOY.denoiser))

    def load_text_encoder(self, source: ModelSource, part: str) -> TextEncoderWeights:
        raise NotImplementedError("it has none")

    def load_controlnet(self, source: ControlNetSource) -> ToyControlNet:
        return ToyControlNet(source.name, _load(Path(source.path)))


@contextmanager
def registered() -> Iterator[None]:
    """The family exists within the block: its two registry entries are all that it needs."""
    with ExitStack() as stack:
        stack.enter_context(facts_registry.registered(TOY))
        stack.enter_context(registry.registered(ToyFamily()))
        yield


def write_toys(folder: Path) -> Path:
    """A model, a ControlNet, a LoRA ``lora.safetensors``, and the catalog that names the first two."""
    generator = torch.Generator().manual_seed(0)
    for name, kind in (("model/transformer", "ToyTransformer"), ("controlnet", "ToyControlNet")):
        (folder / name).mkdir(parents=True)
        config = {"_class_name": kind, "channels": CHANNELS}
        (folder / name / "config.json").write_text(json.dumps(config))
        weight = torch.randn(CHANNELS, CHANNELS, generator=generator) * 0.3
        save_file({"linear.weight": weight}, folder / name / _WEIGHTS)
    (folder / "model/model_index.json").write_text(json.dumps({"_class_name": "ToyPipeline"}))
    (folder / "model/scheduler").mkdir()
    (folder / "model/scheduler/scheduler_config.json").write_text(json.dumps(SCHEDULER))
    a, b = torch.randn(2, CHANNELS, generator=generator), torch.randn(CHANNELS, 2, generator=generator) * 0.3
    factors = {"transformer.linear.lora_A.weight": a, "transformer.linear.lora_B.weight": b}
    save_file(factors, folder / "lora.safetensors")
    catalog = folder / "catalog.toml"
    catalog.write_text(
        'default_model = "toy"\n[models.toy]\nsource = "model"\n'
        '[controlnets.toy-edge]\nsource = "controlnet"\nfamily = "toy"\n'
    )
    return catalog


def generate_directly(folder: Path, spec: JobSpec, control: Image.Image | None, *, lora: bool) -> Any:
    """The pixels of a job, computed here in a few lines; ``(h, w, 3)``."""
    network, controlnet = _load(folder / "model/transformer").linear, _load(folder / "controlnet").linear
    weight = network.weight.clone()
    if lora:
        factors = load_file(folder / "lora.safetensors")
        weight += factors["transformer.linear.lora_B.weight"] @ factors["transformer.linear.lora_A.weight"]
    scheduler = DDIMScheduler.from_config(SCHEDULER)
    scheduler.set_timesteps(spec.num_inference_steps)
    x = ToyLatents().sample_noise([torch.Generator().manual_seed(spec.seed)], (64, 64))
    vectors = torch.stack([text_vector(spec.prompt), text_vector(spec.negative_prompt or "")]).unsqueeze(1)
    with torch.inference_mode():
        for t in scheduler.timesteps:
            both = torch.cat([x, x])
            hidden = both + vectors + t / 1000
            if control is not None:
                pixels = ToyModel.read_control_image(None, control, (64, 64))  # type: ignore[arg-type]
                tokens = nn.functional.avg_pool2d(pixels, PATCH_PX).flatten(2).transpose(1, 2)
                hidden = hidden + controlnet(both + tokens + vectors)
            cond, uncond = nn.functional.linear(hidden, weight).chunk(2)
            x = scheduler.step(cond + spec.guidance_scale * (cond - uncond), t, x, return_dict=False)[0]
    return np.asarray(as_images(ToyLatents().decode(x, (64, 64)))[0], dtype=np.int16)


def text_vector(text: str) -> Tensor:
    """Of ``CHANNELS`` numbers."""
    return torch.tensor([byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:CHANNELS]])


def as_images(pixels: Tensor) -> list[Image.Image]:
    scaled = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in scaled]


def _load(folder: Path) -> ToyNetwork:
    network = ToyNetwork()
    network.load_state_dict(load_file(folder / _WEIGHTS))
    network.config = json.loads((folder / "config.json").read_text())
    return network.eval().requires_grad_(False)
