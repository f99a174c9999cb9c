"""Trains two style LoRAs of rank 8 on the finished base model."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from infra.emoji.training.data.captions import Captions
from infra.emoji.training.data.edge_maps import line_drawing
from infra.emoji.training.data.emoji_sets import NOTO, TWEMOJI, sprites
from infra.emoji.training.data.examples import Examples, Restyle, as_it_is
from infra.emoji.training.models.diffusion import even_timesteps, noised
from infra.emoji.training.models.folder import Base
from infra.emoji.training.models.kohya import to_kohya
from infra.emoji.training.stages.loop import Group, Plan, minimise

RANK = 8
PLAN = Plan(
    steps=305, batch=24, learning_rate=3e-3, warmup_steps=20, hold=0.3, average=0.98, weight_decay=1e-4
)
CAPTION_DROP = 0.08
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut")
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


@dataclass(frozen=True, kw_only=True)
class Style:
    """What a LoRA teaches, and which modules it may change for it."""

    name: str
    emoji_set: str
    restyle: Restyle
    unet_modules: tuple[str, ...]
    text_modules: tuple[str, ...] = ()


STYLES = (
    Style(name="twemoji", emoji_set=TWEMOJI, restyle=as_it_is, unet_modules=ATTENTION),
    Style(
        name="outline",
        emoji_set=NOTO,
        restyle=line_drawing,
        unet_modules=ATTENTION + CONVOLUTIONS,
        text_modules=TEXT_ATTENTION,
    ),
)


def train(style: Style, out: Path, data: Path, scale: float) -> None:
    """Write ``loras/NAME.safetensors`` and the same weights in kohya's format beside it."""
    torch.manual_seed(3)
    plan = PLAN.scaled(scale)
    base = Base(out)
    examples = Examples(base.vae, Captions(base.tokenizer), sprites(style.emoji_set, data), style.restyle)
    models = {"unet": base.unet}
    base.unet.add_adapter(_config(style.unet_modules))
    if style.text_modules:
        models["text_encoder"] = base.text_encoder
        base.text_encoder.add_adapter(_config(style.text_modules))

    def loss() -> Tensor:
        latents, ids = examples.sample(plan.batch, drop=CAPTION_DROP)
        timesteps = even_timesteps(plan.batch)
        x, v = noised(latents, timesteps)
        text = base.text_encoder(ids)[0]
        return F.mse_loss(base.unet(x, timesteps, text, return_dict=False)[0], v)

    parameters = [p for model in models.values() for p in model.parameters() if p.requires_grad]
    minimise(loss, [Group(parameters)], plan, title=f"lora {style.name}")

    # Plain lora_A and lora_B keys: of a file with mixed key styles diffusers 0.42.1 loads half, silently.
    weights = {
        f"{part}.{key}": value.half().contiguous()
        for part, model in models.items()
        for key, value in get_peft_model_state_dict(model).items()
    }
    folder = out / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / f"{style.name}.safetensors", metadata={"format": "pt"})
    about = {"ss_network_module": "networks.lora", "ss_network_dim": str(RANK), "ss_network_alpha": str(RANK)}
    save_file(to_kohya(weights), folder / f"{style.name}.kohya.safetensors", metadata=about)


def _config(modules: tuple[str, ...]) -> LoraConfig:
    return LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(modules), init_lora_weights="gaussian")
