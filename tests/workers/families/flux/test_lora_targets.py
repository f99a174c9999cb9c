"""Every form of LoRA that Flux is trained in changes the weights that diffusers changes, by as much."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.errors import InvalidLora, InvalidRequest
from shared.jobs.lora_scales import PartScales
from tests.tiny_transformers import make_flux
from tests.workers.families.flux.originals import original_shapes
from tests.workers.lora import pipelines
from tests.workers.lora.conftest import weights_of
from tests.workers.lora.patchers import WRITERS
from tests.workers.lora.pipelines import RANK, down_up, factors, kohya, linears, peft
from workers.families.flux.lora_targets import flux_lora_targets
from workers.lora.formats.parser import read_lora
from workers.lora.patch import Patcher

PARTS = ("transformer", "text_encoder", "text_encoder_2")
CLIP = "encoder.layers.0.self_attn", "encoder.layers.1.mlp"
#: Of a CLIP that has it: Flux's has not.
PROJECTION = {"text_projection": (16, 16)}
#: Of original names, what diffusers converts for a Flux of any width and then loads: the width of a single
#: block's fused layer it takes for given, and what is outside of blocks it converts and then leaves out.
ANY_WIDTH = ("double_blocks", "modulation.lin", "linear2")


@pytest.fixture(scope="module")
def pipe() -> Any:
    return make_flux(layers=(2, 2))


def originals(pipe: Any, *words: str) -> dict[str, tuple[int, int]]:
    shapes = original_shapes(pipe.transformer.config)
    return {name: shape for name, shape in shapes.items() if any(word in name for word in words)}


def clip(pipe: Any) -> dict[str, tuple[int, int]]:
    """Shapes of some of the text encoder's modules, by the names that files have."""
    shapes = linears(pipe.text_encoder, *CLIP)
    return {f"text_model.{name.removeprefix('text_model.')}": shape for name, shape in shapes.items()}


def xlabs(pipe: Any) -> dict[str, Tensor]:
    width = pipe.transformer.inner_dim
    shapes = {
        "double_blocks.1.processor.qkv_lora1": (3 * width, width),
        "double_blocks.1.processor.qkv_lora2": (3 * width, width),
        "double_blocks.1.processor.proj_lora1": (width, width),
        "double_blocks.1.processor.proj_lora2": (width, width),
        "single_blocks.0.processor.qkv_lora": (3 * width, width),
        "single_blocks.0.processor.proj_lora": (width, 5 * width),
    }
    return factors(shapes, ".down.weight", ".up.weight")


def prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in tensors.items()}


def dora(pipe: Any) -> dict[str, Tensor]:
    shapes = linears(pipe.transformer, "attn.to")
    norms = {
        f"transformer.{name}.lora_magnitude_vector": torch.linspace(0.5, 1.5, rows)
        for name, (rows, _) in shapes.items()
    }
    return peft(shapes, "transformer.") | norms


def biased(pipe: Any) -> dict[str, Tensor]:
    shapes = linears(pipe.transformer, "attn.to")
    biases = {
        f"transformer.{name}.lora_B.bias": torch.linspace(-0.1, 0.1, rows)
        for name, (rows, _) in shapes.items()
    }
    return peft(shapes, "transformer.") | biases


FORMS: dict[str, Callable[[Any], dict[str, Tensor]]] = {
    "PEFT, every layer": lambda pipe: peft(linears(pipe.transformer), "transformer."),
    "PEFT with the text encoder": lambda pipe: (
        peft(linears(pipe.transformer, "attn"), "transformer.") | peft(clip(pipe), "text_encoder.")
    ),
    "PEFT with alphas": lambda pipe: peft(linears(pipe.transformer, "to_"), "transformer.", alpha=".alpha"),
    "PEFT with alphas of some modules, which are the ranks of the others": lambda pipe: (
        peft(linears(pipe.transformer, "to_q"), "transformer.")
        | {f"transformer.{next(iter(linears(pipe.transformer, 'to_q')))}.alpha": torch.tensor(float(RANK))}
    ),
    "PEFT's DoRA": dora,
    "PEFT with biases": biased,
    "ai-toolkit": lambda pipe: peft(linears(pipe.transformer, "blocks"), "transformer."),
    "kohya's words, diffusers' names": lambda pipe: down_up(linears(pipe.transformer), "transformer."),
    "kohya": lambda pipe: kohya(originals(pipe, *ANY_WIDTH), "lora_unet_"),
    "kohya with the text encoder": lambda pipe: (
        kohya(originals(pipe, "double_blocks"), "lora_unet_") | kohya(clip(pipe), "lora_te1_")
    ),
    "ComfyUI": lambda pipe: (
        down_up(originals(pipe, *ANY_WIDTH), "diffusion_model.", alpha=".alpha")
        | down_up(clip(pipe), "text_encoders.clip_l.transformer.", alpha=".alpha")
    ),
    "ComfyUI with CLIP's projection": lambda pipe: (
        down_up(originals(pipe, *ANY_WIDTH), "diffusion_model.", alpha=".alpha")
        | down_up(clip(pipe) | PROJECTION, "text_encoders.clip_l.transformer.", alpha=".alpha")
    ),
    "kohya with CLIP's projection": lambda pipe: (
        kohya(originals(pipe, "double_blocks"), "lora_unet_") | kohya(clip(pipe) | PROJECTION, "lora_te1_")
    ),
    "kohya's words, under two prefixes": lambda pipe: (
        down_up(linears(pipe.transformer, "attn.to_"), "transformer.")
        | kohya(originals(pipe, "double_blocks"), "lora_unet_")
    ),
    "OneTrainer": lambda pipe: (
        kohya(linears(pipe.transformer, "attn.to", "attn.add", "embedder"), "lora_transformer_")
        | kohya(clip(pipe), "lora_te1_")
    ),
    "XLabs": xlabs,
    "XLabs in ComfyUI": lambda pipe: prefixed(xlabs(pipe), "diffusion_model."),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_patched_model_has_the_weights_that_diffusers_fuses(pipe: Any, tmp_path: Path, form: str) -> None:
    path = pipelines.write(tmp_path / "lora.safetensors", FORMS[form](pipe))
    base = weights_of(pipelines.parts_of(pipe, PARTS))
    ours = pipelines.by_us(pipe, flux_lora_targets, path, 0.7, PARTS)
    theirs = base | pipelines.by_diffusers(pipe, path, 0.7, ("transformer", "text_encoder"))
    pipelines.check_equal(ours, theirs, base)


@pytest.mark.parametrize("form", ["PEFT, every layer", "kohya", "XLabs"])
def test_weights_of_half_precision_differ_by_rounding_alone(tmp_path: Path, form: str) -> None:
    pipe = make_flux(layers=(2, 2)).to(torch.bfloat16)
    tensors = {key: tensor.to(torch.bfloat16) for key, tensor in FORMS[form](pipe).items()}
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    ours = pipelines.by_us(pipe, flux_lora_targets, path, 0.7, PARTS)
    theirs = pipelines.by_diffusers(pipe, path, 0.7, PARTS[:1])
    for name, weight in theirs.items():
        # diffusers rounds the factors, their product, the product's scale, and the sum
        error = (ours[name].float() - weight.float()).abs().max()
        assert error <= 3 * 2**-8 * weight.abs().max(), name


def adapter(pipe: Any, *parts: str) -> dict[str, str]:
    """What PEFT saves of the adapters of ``parts``: two ranks, three alphas, one by a whole name."""
    options = {
        "r": pipelines.RANK,
        "lora_alpha": 6,
        "alpha_pattern": {"to_k": 2, "^transformer_blocks.0.attn.to_q": 9},
        "use_rslora": True,
        "target_modules": ["to_q", "to_k", "q_proj"],
    }
    flat = {f"{part}.{option}": value for part in parts for option, value in options.items()}
    return {"lora_adapter_metadata": json.dumps(flat)}


def test_alphas_of_an_adapters_configuration_count_as_in_diffusers(pipe: Any, tmp_path: Path) -> None:
    tensors = peft(linears(pipe.transformer, "to_q", "to_k"), "transformer.")
    path = pipelines.write(tmp_path / "lora.safetensors", tensors, adapter(pipe, "transformer"))
    base = weights_of(pipelines.parts_of(pipe, PARTS))
    ours = pipelines.by_us(pipe, flux_lora_targets, path, 0.7, PARTS)
    pipelines.check_equal(ours, base | pipelines.by_diffusers(pipe, path, 0.7, ("transformer",)), base)


def test_a_part_without_a_configuration_has_its_rank_as_alpha(pipe: Any, tmp_path: Path) -> None:
    """diffusers fails on such a file."""
    tensors = peft(linears(pipe.transformer, "to_q"), "transformer.") | peft(clip(pipe), "text_encoder.")
    path = pipelines.write(tmp_path / "lora.safetensors", tensors, adapter(pipe, "transformer"))
    lora = read_lora(path, flux_lora_targets(pipelines.parts_of(pipe, PARTS)))
    scalings = {part: {delta.scaling for delta in deltas.values()} for part, deltas in lora.parts.items()}
    assert scalings == {"transformer": {6 / 2, 9 / 2}, "text_encoder": {1.0}}


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "base_model.model."])
def test_every_original_name_means_rows_of_what_the_model_has_in_its_place(
    pipe: Any, tmp_path: Path, prefix: str
) -> None:
    shapes = originals(pipe, "")
    tensors = peft(shapes, prefix)
    added = changes_of(pipe, tmp_path, tensors)
    expected: dict[str, Tensor] = {}
    for name, (a, b) in {name: pair(tensors, prefix + name) for name in shapes}.items():
        expected |= in_diffusers_layout(name, b @ a)
    assert added.keys() == {f"{name}.weight" for name in linears(pipe.transformer)}
    assert added.keys() == expected.keys()
    for name, change in expected.items():
        torch.testing.assert_close(added[name], change, rtol=0, atol=1e-6)


def test_the_same_lora_is_the_same_in_every_form_that_names_original_modules(
    pipe: Any, tmp_path: Path
) -> None:
    shapes = originals(pipe, "")
    reference = changes_of(pipe, tmp_path, down_up(shapes, "diffusion_model.", alpha=".alpha"))
    for other in (
        kohya(shapes, "lora_unet_"),
        peft(shapes, "", alpha=".alpha"),
        peft(shapes, "base_model.model.", alpha=".alpha"),
        factors(shapes, ".lora_A.default.weight", ".lora_B.default.weight", alpha=".alpha"),
    ):
        added = changes_of(pipe, tmp_path, other)
        assert all(torch.equal(added[name], change) for name, change in reference.items())


@pytest.mark.parametrize(
    "words", [{"lokr_w1": (6, 2), "lokr_w2": (16, 16)}, {"lokr_w1": (1, 1), "lokr_w2": (96, 32)}]
)
def test_a_kronecker_product_of_a_fused_layer_gives_each_module_its_rows(
    pipe: Any, tmp_path: Path, words: dict[str, tuple[int, int]]
) -> None:
    torch.manual_seed(0)
    stem = "lora_unet_double_blocks_1_txt_attn_qkv"
    tensors = {f"{stem}.{word}": torch.randn(shape) for word, shape in words.items()}
    whole = torch.kron(*tensors.values())
    added = changes_of(pipe, tmp_path, tensors)
    names = [f"transformer_blocks.1.attn.add_{one}_proj.weight" for one in "qkv"]
    torch.testing.assert_close(torch.cat([added[name] for name in names]), whole, rtol=0, atol=1e-5)


def test_loha_swapped_halves_and_differences_of_norms_are_applied(pipe: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    final, norm = "lora_unet_final_layer_adaLN_modulation_1", "diffusion_model.single_blocks.1.norm.key_norm"
    loha = {f"{final}.hada_w{i}_{side}": torch.randn(shape) for i in (1, 2) for side, shape in HADAMARD}
    tensors = loha | {f"{norm}.diff": torch.randn(16), f"{final}.diff_b": torch.randn(64)}
    added = changes_of(pipe, tmp_path, tensors)
    w1a, w1b, w2a, w2b = (loha[f"{final}.hada_w{i}_{side}"] for i in (1, 2) for side in "ab")
    whole = (w1a @ w1b) * (w2a @ w2b)
    swapped = torch.cat([whole[32:], whole[:32]])
    torch.testing.assert_close(added["norm_out.linear.weight"], swapped, rtol=0, atol=1e-5)
    bias = tensors[f"{final}.diff_b"]
    assert torch.equal(added["norm_out.linear.bias"], torch.cat([bias[32:], bias[:32]]))
    assert torch.equal(added["single_transformer_blocks.1.attn.norm_k.weight"], tensors[f"{norm}.diff"])


@pytest.mark.parametrize(
    "prefix", ["lora_te2_", "lora_te3_", "text_encoders.t5xxl.transformer.", "text_encoder_2."]
)
def test_a_trained_t5_is_patched(pipe: Any, tmp_path: Path, prefix: str) -> None:
    shapes = linears(pipe.text_encoder_2, "SelfAttention", "wi_0")
    tensors = (kohya if prefix.startswith("lora") else down_up)(shapes, prefix, alpha=".alpha")
    lora = read_lora(
        pipelines.write(tmp_path / "t5", tensors), flux_lora_targets(pipelines.parts_of(pipe, PARTS))
    )
    added = pipelines.changes(lora, "text_encoder_2")
    assert added.keys() == {f"{name}.weight" for name in shapes}
    for name in shapes:
        a, b = pair(tensors, prefix + (name.replace(".", "_") if prefix.startswith("lora") else name))
        change = pipelines.ALPHA / pipelines.RANK * b @ a
        torch.testing.assert_close(added[f"{name}.weight"], change, rtol=0, atol=1e-6)


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_patches_fused_layers_and_puts_them_back(pipe: Any, tmp_path: Path, writer: str) -> None:
    shapes = originals(pipe, "qkv", "linear1", "adaLN")
    tensors = kohya(shapes, "lora_unet_")
    stem = "lora_unet_single_blocks_0_linear1"
    for key in [key for key in tensors if key.startswith(stem)]:
        del tensors[key]
    tensors |= {f"{stem}.lokr_w1": torch.randn(7, 1), f"{stem}.lokr_w2": torch.randn(32, 32)}
    tensors[f"{stem}.dora_scale"] = torch.rand(7 * 32, 1) + 0.5
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    base = weights_of(pipelines.parts_of(pipe, PARTS))
    ours = pipelines.by_us(pipe, flux_lora_targets, path, 0.5, PARTS, writer)
    cpu = pipelines.by_us(pipe, flux_lora_targets, path, 0.5, PARTS)
    pipelines.check_equal(ours, cpu, base)


def test_the_factor_that_modules_share_takes_memory_once(pipe: Any, tmp_path: Path) -> None:
    tensors = kohya(originals(pipe, "qkv", "linear1"), "lora_unet_", alpha="")
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    targets = flux_lora_targets(pipelines.parts_of(pipe, PARTS))
    size_bytes = sum(tensor.nbytes for tensor in tensors.values())
    for allocate in (None, lambda count: torch.empty(count, dtype=torch.uint8)):
        lora = read_lora(path, targets, allocate=allocate)
        assert lora.nbytes == size_bytes


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_what_diffusers_leaves_out_is_named_unless_it_is_zero(
    pipe: Any, tmp_path: Path, factor: float
) -> None:
    stem = "text_encoders.clip_l.transformer.text_projection"
    tensors = FORMS["ComfyUI with CLIP's projection"](pipe)
    tensors[f"{stem}.lora_up.weight"] *= factor
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    lora = read_lora(path, flux_lora_targets(pipelines.parts_of(pipe, PARTS)))
    assert lora.copy().left_out == ((stem,) if factor else ())


def test_all_but_diffusers_prefix_is_named_of_a_file_with_two(pipe: Any, tmp_path: Path) -> None:
    tensors = FORMS["kohya's words, under two prefixes"](pipe)
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    lora = read_lora(path, flux_lora_targets(pipelines.parts_of(pipe, PARTS)))
    assert set(lora.left_out) == {key.partition(".")[0] for key in tensors if key.startswith("lora_unet_")}
    assert lora.parts.keys() == {"transformer"}


def rejected(pipe: Any) -> dict[str, tuple[dict[str, Tensor], str]]:
    """Files that are refused, and a part of the error."""
    qkv = "lora_unet_double_blocks_0_img_attn_qkv"
    fused = kohya({"double_blocks.0.img_attn.qkv": (96, 32)}, "lora_unet_")
    fused_peft = peft({"double_blocks.0.img_attn.qkv": (96, 32)}, "diffusion_model.")
    split = peft({"transformer_blocks.0.attn.to_q": (32, 32)}, "transformer.")
    head = {"double_blocks.0.img_attn.proj": (32, 32)}
    return {
        "a UNet's": (
            kohya({"down_blocks_0_attentions_0_proj_in": (32, 32)}, "lora_unet_"),
            "match no module",
        ),
        "SD3's": (peft({"transformer_blocks.0.attn2.to_q": (32, 32)}, "transformer."), "match no module"),
        "a block too many": (peft({"double_blocks.19.img_attn.proj": (32, 32)}, ""), "match no module.*19"),
        "CLIP's projection": (peft({"text_projection": (16, 16)}, "text_encoder."), "match no module"),
        "both fused and split": (fused_peft | split, "all name transformer.*to_q.lora_A"),
        "of another height": (
            kohya({"double_blocks.0.img_attn.qkv": (97, 32)}, "lora_unet_"),
            f"{qkv}.*96 rows",
        ),
        "DoRA of the inputs of a fused layer": (
            fused | {f"{qkv}.dora_scale": torch.ones(1, 32)},
            f"{qkv}.dora_scale",
        ),
        "a bias of the first factor": (
            peft(head, "") | {"double_blocks.0.img_attn.proj.lora_A.bias": torch.ones(4)},
            "do not go together",
        ),
        "only an alpha": (
            {**split, "transformer.proj_out.alpha": torch.tensor(1.0)},
            "transformer.proj_out.alpha",
        ),
        "alphas of some modules only": (
            split
            | peft({"transformer_blocks.0.attn.to_k": (32, 32)}, "transformer.")
            | {"transformer.transformer_blocks.0.attn.to_k.alpha": torch.tensor(1.0)},
            "have no alpha, which others of the file have: .*to_q.lora_A.weight$",
        ),
        "a control LoRA's norms": (
            peft(head, "") | {"double_blocks.0.img_attn.norm.query_norm.scale": torch.ones(16)},
            "query_norm.scale",
        ),
        "norms in diffusers' names": (
            split | {"transformer.transformer_blocks.0.attn.norm_q.weight": torch.ones(16)},
            "norm_q.weight",
        ),
        "a control LoRA's wider input": (
            peft({"img_in": (32, 128)}, ""),
            "img_in.lora_A.weight has the shape",
        ),
        "weights that replace others": (
            split | {"diffusion_model.img_in.set_weight": torch.ones(32, 16)},
            "img_in.set_weight",
        ),
    }


@pytest.mark.parametrize("what", rejected(None))
def test_what_cannot_be_applied_whole_is_refused_by_its_keys(pipe: Any, tmp_path: Path, what: str) -> None:
    tensors, error = rejected(pipe)[what]
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    with pytest.raises(InvalidLora, match=error):
        read_lora(path, flux_lora_targets(pipelines.parts_of(pipe, PARTS)))


def test_a_scale_by_block_is_refused(pipe: Any) -> None:
    patcher = Patcher(pipelines.parts_of(pipe, PARTS))
    patcher.check_scale(PartScales(transformer=0.5, text_encoder_2=0.1))
    with pytest.raises(InvalidRequest, match="no unet"):
        patcher.check_scale(PartScales.model_validate({"unet": {"down": 0.5}}))


#: Roles of a LoHa of a module of 64 rows and 32 columns.
HADAMARD = (("a", (64, 2)), ("b", (2, 32)))


def pair(tensors: dict[str, Tensor], stem: str) -> tuple[Tensor, Tensor]:
    """The first and the second factor of a module."""
    keys = [key for key in tensors if key.startswith(f"{stem}.lora")]
    first = next(key for key in keys if "lora_A" in key or "lora_down" in key)
    (second,) = set(keys) - {first}
    return tensors[first], tensors[second]


def changes_of(pipe: Any, tmp_path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    lora = read_lora(path, flux_lora_targets(pipelines.parts_of(pipe, PARTS)))
    assert lora.parts.keys() == {"transformer"}
    return pipelines.changes(lora)


def in_diffusers_layout(name: str, change: Tensor) -> dict[str, Tensor]:
    """What becomes of a change of the original module ``name``."""
    heads = {
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "final_layer.linear": "proj_out",
        **{
            f"{theirs}_in.{end}_layer": f"time_text_embed.{ours}_embedder.linear_{i}"
            for theirs, ours in (("time", "timestep"), ("guidance", "guidance"), ("vector", "text"))
            for i, end in ((1, "in"), (2, "out"))
        },
    }
    if name in heads:
        return {f"{heads[name]}.weight": change}
    if name.startswith("final_layer"):
        shift, scale = change.chunk(2)
        return {"norm_out.linear.weight": torch.cat([scale, shift])}
    _, i, rest = name.split(".", 2)
    block = f"{'single_' if name.startswith('single') else ''}transformer_blocks.{i}"
    stream = "" if rest.startswith("img") else "_context"
    q, k, v = ("to_q", "to_k", "to_v") if "txt" not in rest else ("add_q_proj", "add_k_proj", "add_v_proj")
    layers = {
        "modulation.lin": ["norm.linear"],
        "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
        "linear2": ["proj_out"],
        "mod.lin": [f"norm1{stream}.linear"],
        "attn.qkv": [f"attn.{q}", f"attn.{k}", f"attn.{v}"],
        "attn.proj": ["attn.to_add_out" if stream else "attn.to_out.0"],
        "mlp.0": [f"ff{stream}.net.0.proj"],
        "mlp.2": [f"ff{stream}.net.2"],
    }[rest if name.startswith("single") else rest[4:]]
    width = change.shape[1]
    heights = [width, width, width, 4 * width][: len(layers)] if len(layers) > 1 else [len(change)]
    pieces = torch.split(change, heights)
    return {f"{block}.{layer}.weight": piece for layer, piece in zip(layers, pieces, strict=True)}
