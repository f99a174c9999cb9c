"""Every form of LoRA that Qwen-Image is trained in changes the weights that diffusers changes, by as much."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from shared.errors import InvalidLora
from tests.tiny_transformers import make_qwen_image
from tests.workers.lora import pipelines
from tests.workers.lora.conftest import weights_of
from tests.workers.lora.pipelines import down_up, factors, kohya, linears, peft
from workers.families.qwen_image.lora_targets import qwen_image_lora_targets
from workers.lora.formats.parser import read_lora

PARTS = ("transformer",)


@pytest.fixture(scope="module")
def pipe() -> Any:
    return make_qwen_image(layers=2)


FORMS: dict[str, Callable[[dict[str, tuple[int, int]]], dict[str, Tensor]]] = {
    "PEFT": lambda shapes: peft(shapes, "transformer."),
    "ai-toolkit and ComfyUI": lambda shapes: peft(shapes, "diffusion_model."),
    "ComfyUI with alphas": lambda shapes: peft(shapes, "diffusion_model.", alpha=".alpha"),
    "kohya": lambda shapes: kohya(shapes, "lora_unet_"),
    "kohya's words, diffusers' names": lambda shapes: down_up(shapes, "", alpha=".alpha"),
    "PEFT with the adapter's name": lambda shapes: factors(
        shapes, ".lora_A.default.weight", ".lora_B.default.weight"
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_patched_model_has_the_weights_that_diffusers_fuses(pipe: Any, tmp_path: Path, form: str) -> None:
    path = pipelines.write(tmp_path / "lora.safetensors", FORMS[form](linears(pipe.transformer)))
    base = weights_of(pipelines.parts_of(pipe, PARTS))
    ours = pipelines.by_us(pipe, qwen_image_lora_targets, path, 0.7, PARTS)
    theirs = pipelines.by_diffusers(pipe, path, 0.7, PARTS)
    pipelines.check_equal(ours, theirs, base)


def test_alphas_beside_peft_names_count_although_diffusers_fails_on_them(pipe: Any, tmp_path: Path) -> None:
    shapes = linears(pipe.transformer)
    named = pipelines.write(tmp_path / "named", peft(shapes, "transformer.", alpha=".alpha"))
    bare = pipelines.write(tmp_path / "bare", peft(shapes, "", alpha=".alpha"))
    base = weights_of(pipelines.parts_of(pipe, PARTS))
    ours = pipelines.by_us(pipe, qwen_image_lora_targets, named, 0.7, PARTS)
    pipelines.check_equal(ours, pipelines.by_diffusers(pipe, bare, 0.7, PARTS), base)


REFUSED = {
    "Flux's": (kohya({"double_blocks.0.img_attn.proj": (32, 32)}, "lora_unet_"), "match no module"),
    "a text encoder's": (
        peft({"model.layers.0.self_attn.q_proj": (32, 32)}, "text_encoder."),
        "match no module.*text_encoder.model",
    ),
    "a block too many": (kohya({"transformer_blocks.60.attn.to_q": (32, 32)}, "lora_unet_"), "blocks_60"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_matches_no_module_is_refused_by_its_keys(pipe: Any, tmp_path: Path, what: str) -> None:
    tensors, error = REFUSED[what]
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    with pytest.raises(InvalidLora, match=error):
        read_lora(path, qwen_image_lora_targets(pipelines.parts_of(pipe, PARTS)))
