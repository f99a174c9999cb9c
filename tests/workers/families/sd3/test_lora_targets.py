"""LoRAs of Stable Diffusion 3 and 3.5: PEFT's form by diffusers, Stability's names by its conversion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from torch import Tensor

from shared.errors import InvalidLora
from tests.tiny_transformers import make_sd3
from tests.workers.lora import pipelines
from tests.workers.lora.conftest import weights_of
from tests.workers.lora.pipelines import down_up, kohya, linears, peft
from workers.families.sd3.lora_targets import sd3_lora_targets
from workers.lora.formats.parser import read_lora

PARTS = ("transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
CLIP = ("layers.0.self_attn", "layers.2.mlp.fc1", "layers.1.self_attn.k_proj")
WIDTH = 32


@pytest.fixture(scope="module")
def pipe() -> Any:
    return make_sd3(dual_attention=True, layers=4)


def clip(pipe: Any, part: str) -> dict[str, tuple[int, int]]:
    shapes = linears(getattr(pipe, part), *CLIP)
    return {f"text_model.{name.removeprefix('text_model.')}": shape for name, shape in shapes.items()}


FORMS: dict[str, Callable[[Any], dict[str, Tensor]]] = {
    "PEFT, every layer": lambda pipe: peft(linears(pipe.transformer), "transformer."),
    "PEFT with both CLIPs": lambda pipe: (
        peft(linears(pipe.transformer, "attn2"), "transformer.")
        | peft(clip(pipe, "text_encoder"), "text_encoder.")
        | peft(clip(pipe, "text_encoder_2"), "text_encoder_2.")
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_patched_model_has_the_weights_that_diffusers_fuses(pipe: Any, tmp_path: Path, form: str) -> None:
    path = pipelines.write(tmp_path / "lora.safetensors", FORMS[form](pipe))
    base = weights_of(pipelines.parts_of(pipe, PARTS))
    ours = pipelines.by_us(pipe, sd3_lora_targets, path, 0.7, PARTS)
    theirs = base | pipelines.by_diffusers(pipe, path, 0.7, PARTS[:3])
    pipelines.check_equal(ours, theirs, base)


def test_alphas_beside_peft_names_count_although_diffusers_fails_on_them(pipe: Any, tmp_path: Path) -> None:
    shapes = linears(pipe.transformer, "attn2", "norm1.linear")
    named = peft(shapes, "transformer.", alpha=".alpha")
    factor = pipelines.ALPHA / pipelines.RANK
    scaled = {key: tensor * (factor if "lora_B" in key else 1) for key, tensor in named.items()}
    baked = {key: tensor for key, tensor in scaled.items() if not key.endswith(".alpha")}
    base = weights_of(pipelines.parts_of(pipe, PARTS))
    ours = pipelines.by_us(pipe, sd3_lora_targets, pipelines.write(tmp_path / "named", named), 0.7, PARTS)
    theirs = pipelines.by_diffusers(pipe, pipelines.write(tmp_path / "baked", baked), 0.7, PARTS[:1])
    pipelines.check_equal(ours, base | theirs, base)


@pytest.mark.parametrize("form", ["kohya", "ComfyUI", "PEFT"])
@pytest.mark.parametrize("model", ["3.5 medium", "3 medium"])
def test_stabilitys_names_change_what_its_conversion_changes(tmp_path: Path, model: str, form: str) -> None:
    pipe = make_sd3(dual_attention=model == "3.5 medium", qk_norm=model == "3.5 medium", layers=4)
    shapes = original_shapes(pipe.transformer)
    layers = {name: shape for name, shape in shapes.items() if "x_embedder" not in name}
    tensors = {
        "kohya": lambda: kohya(layers, "lora_unet_", alpha=""),
        "ComfyUI": lambda: down_up(layers, "diffusion_model."),
        "PEFT": lambda: peft(layers, "diffusion_model."),
    }[form]()
    products = {name: b @ a for (name, (a, b)) in zip(layers, pairs_of(list(tensors.values())), strict=True)}
    lora = read_lora(
        pipelines.write(tmp_path / "lora.safetensors", tensors),
        sd3_lora_targets(pipelines.parts_of(pipe, PARTS)),
    )
    added = pipelines.changes(lora)
    converted = convert_sd3_transformer_checkpoint_to_diffusers(
        checkpoint(pipe.transformer, shapes, products)
    )
    expected = {f"{name}.weight" for name in linears(pipe.transformer)}
    assert added.keys() == expected
    for name in expected:
        torch.testing.assert_close(added[name], converted[name], rtol=0, atol=1e-6, msg=name)


def test_the_patch_embedding_norms_and_biases_take_differences(pipe: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        "diffusion_model.x_embedder.proj.diff": torch.randn(pipe.transformer.pos_embed.proj.weight.shape),
        "diffusion_model.joint_blocks.3.context_block.adaLN_modulation.1.diff_b": torch.randn(2 * WIDTH),
        "diffusion_model.joint_blocks.2.context_block.attn.ln_k.diff": torch.randn(8),
    }
    embedding, context_norm, norm = tensors.values()
    lora = read_lora(
        pipelines.write(tmp_path / "lora.safetensors", tensors),
        sd3_lora_targets(pipelines.parts_of(pipe, PARTS)),
    )
    added = pipelines.changes(lora)
    shift, scale = context_norm.chunk(2)
    assert torch.equal(added["pos_embed.proj.weight"], embedding)
    assert torch.equal(added["transformer_blocks.3.norm1_context.linear.bias"], torch.cat([scale, shift]))
    assert torch.equal(added["transformer_blocks.2.attn.norm_added_k.weight"], norm)


@pytest.mark.parametrize(
    ("prefix", "part"),
    [
        ("lora_te1_", "text_encoder"),
        ("text_encoders.clip_l.transformer.", "text_encoder"),
        ("lora_te2_", "text_encoder_2"),
        ("text_encoders.clip_g.transformer.", "text_encoder_2"),
        ("lora_te3_", "text_encoder_3"),
        ("text_encoders.t5xxl.transformer.", "text_encoder_3"),
    ],
)
def test_every_text_encoder_is_found_by_its_prefixes(
    pipe: Any, tmp_path: Path, prefix: str, part: str
) -> None:
    if part == "text_encoder_3":
        shapes = linears(pipe.text_encoder_3, "SelfAttention.v", "wo")
    else:
        shapes = clip(pipe, part) | {"text_projection": (16, 16)}
    tensors = (kohya if prefix.startswith("lora") else down_up)(shapes, prefix)
    lora = read_lora(
        pipelines.write(tmp_path / "lora.safetensors", tensors),
        sd3_lora_targets(pipelines.parts_of(pipe, PARTS)),
    )
    assert lora.parts.keys() == {part}
    assert {name.removeprefix("text_model.") for name in lora.parts[part]} == {
        f"{name.removeprefix('text_model.')}.weight" for name in shapes
    }


REFUSED = {
    "Flux's": (kohya({"double_blocks.0.img_attn.proj": (32, 32)}, "lora_unet_"), "match no module"),
    "the last block's missing layer": (
        kohya({"joint_blocks.3.context_block.attn.proj": (32, 32)}, "lora_unet_"),
        "match no module.*joint_blocks_3_context_block_attn_proj",
    ),
    "a text encoder without a number": (
        kohya({"text_model.encoder.layers.0.mlp.fc1": (32, 16)}, "lora_te_"),
        "match no module.*lora_te_text_model",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_matches_no_module_is_refused_by_its_keys(pipe: Any, tmp_path: Path, what: str) -> None:
    tensors, error = REFUSED[what]
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    with pytest.raises(InvalidLora, match=error):
        read_lora(path, sd3_lora_targets(pipelines.parts_of(pipe, PARTS)))


def original_shapes(transformer: Any) -> dict[str, tuple[int, int]]:
    """Rows and columns of every linear layer as Stability names it."""
    pooled = transformer.config.pooled_projection_dim
    last = len(transformer.transformer_blocks) - 1
    shapes = {
        "t_embedder.mlp.0": (WIDTH, 256),
        "t_embedder.mlp.2": (WIDTH, WIDTH),
        "y_embedder.mlp.0": (WIDTH, pooled),
        "y_embedder.mlp.2": (WIDTH, WIDTH),
        "context_embedder": (WIDTH, transformer.config.joint_attention_dim),
        "final_layer.linear": (transformer.proj_out.out_features, WIDTH),
        "final_layer.adaLN_modulation.1": (2 * WIDTH, WIDTH),
    }
    for i, block in enumerate(transformer.transformer_blocks):
        has_two = block.attn2 is not None
        for stream in ("x_block", "context_block"):
            start = f"joint_blocks.{i}.{stream}"
            is_end = i == last and stream == "context_block"
            modulations = 2 if is_end else 9 if has_two and stream == "x_block" else 6
            shapes[f"{start}.adaLN_modulation.1"] = (modulations * WIDTH, WIDTH)
            shapes[f"{start}.attn.qkv"] = (3 * WIDTH, WIDTH)
            if not is_end:
                shapes[f"{start}.attn.proj"] = (WIDTH, WIDTH)
                shapes[f"{start}.mlp.fc1"] = (4 * WIDTH, WIDTH)
                shapes[f"{start}.mlp.fc2"] = (WIDTH, 4 * WIDTH)
        if has_two:
            shapes[f"joint_blocks.{i}.x_block.attn2.qkv"] = (3 * WIDTH, WIDTH)
            shapes[f"joint_blocks.{i}.x_block.attn2.proj"] = (WIDTH, WIDTH)
    return shapes


def checkpoint(
    transformer: Any, shapes: dict[str, tuple[int, int]], products: dict[str, Tensor]
) -> dict[str, Tensor]:
    """A checkpoint of Stability's whose weights are the ``products``; all else is zero."""
    tensors = {f"{name}.weight": product for name, product in products.items()}
    tensors |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    tensors |= {
        "pos_embed": torch.zeros(1),
        "x_embedder.proj.weight": torch.zeros(1),
        "x_embedder.proj.bias": torch.zeros(1),
    }
    if transformer.config.qk_norm:
        attentions = [name.removesuffix(".qkv") for name in shapes if name.endswith(".qkv")]
        tensors |= {f"{name}.ln_{which}.weight": torch.zeros(1) for name in attentions for which in "qk"}
    return tensors


def pairs_of(tensors: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(tensors[0::2], tensors[1::2], strict=True))
