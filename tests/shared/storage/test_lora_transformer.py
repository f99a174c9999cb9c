"""LoRAs of transformers, in the names of every trainer: family, parts, and what they do not fit."""

import pytest

from shared.families.base import FamilyFacts
from shared.families.controlnets import ModelSignature
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.sd3 import SD3
from shared.families.unet import SD1, SDXL
from shared.families.z_image import Z_IMAGE
from shared.storage.lora_header import LoraInfo, incompatibility, inspect_lora
from shared.storage.lora_modules import TRANSFORMER_PREFIXES
from shared.storage.safetensors_header import TensorInfo


def inspect(*keys: str, width: int = 3072, **metadata: str) -> LoraInfo:
    return inspect_lora({key: TensorInfo("BF16", (8, width), (0, 0)) for key in keys}, metadata)


def signature(facts: FamilyFacts) -> ModelSignature:
    return facts.signature({"addition_embed_type": "text_time", "cross_attention_dim": 2048})


FILES: dict[str, tuple[str, str]] = {
    "flux PEFT": ("flux", "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"),
    "flux PEFT without prefix": ("flux", "single_transformer_blocks.3.proj_mlp.lora_A.weight"),
    "flux double blocks": ("flux", "transformer.transformer_blocks.7.ff_context.net.0.proj.lora_A.weight"),
    "flux kohya": ("flux", "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"),
    "flux kohya single": ("flux", "lora_unet_single_blocks_37_linear1.lora_down.weight"),
    "flux ComfyUI": ("flux", "diffusion_model.double_blocks.0.txt_mlp.0.lora_A.weight"),
    "flux BFL": ("flux", "double_blocks.0.img_attn.qkv.lora_A.weight"),
    "flux XLabs": ("flux", "double_blocks.0.processor.qkv_lora1.down.weight"),
    "flux XLabs single": ("flux", "single_blocks.0.processor.qkv_lora.down.weight"),
    "flux OneTrainer": ("flux", "lora_transformer_single_transformer_blocks_0_attn_to_q.lora_down.weight"),
    "flux fal": ("flux", "base_model.model.double_blocks.0.img_attn.proj.lora_A.weight"),
    "sd3 ComfyUI": ("sd3", "diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_A.weight"),
    "sd3 kohya": ("sd3", "lora_unet_joint_blocks_0_context_block_mlp_fc1.lora_down.weight"),
    "qwen PEFT": ("qwen-image", "transformer.transformer_blocks.0.img_mlp.net.0.proj.lora_A.weight"),
    "qwen ComfyUI": ("qwen-image", "diffusion_model.transformer_blocks.59.attn.to_q.lora_A.weight"),
    "qwen kohya": ("qwen-image", "lora_unet_transformer_blocks_0_txt_mod_1.lora_down.weight"),
    "z-image PEFT": ("z-image", "transformer.layers.0.attention.to_q.lora_A.weight"),
    "z-image ComfyUI": ("z-image", "diffusion_model.layers.0.attention.qkv.lora_down.weight"),
    "z-image kohya": ("z-image", "lora_unet_layers_0_feed_forward_w1.lora_down.weight"),
    "z-image refiner": ("z-image", "diffusion_model.context_refiner.0.attention.to_k.lora_A.weight"),
    "z-image LoKr": ("z-image", "diffusion_model.layers.0.adaLN_modulation.0.lokr_w1"),
}  # fmt: skip


@pytest.mark.parametrize(("family", "key"), FILES.values(), ids=FILES)
def test_the_names_of_every_trainer_tell_the_family(family: str, key: str) -> None:
    if "ff_context" in key:  # its width tells that no Stable Diffusion 3 has it
        info = inspect(key, "transformer.transformer_blocks.7.attn.to_q.lora_A.weight")
    else:
        info = inspect(key)
    assert (info.family, info.parts, info.cross_attention_dim) == (family, ["transformer"], None)


@pytest.mark.parametrize("width", [1536, 2432])
def test_the_width_of_stable_diffusion_3_tells_it(width: int) -> None:
    key = "transformer.transformer_blocks.0.attn.to_q.lora_A.weight"
    assert inspect(key, width=width).family == "sd3"
    dual = "transformer.transformer_blocks.0.attn2.to_k.lora_A.weight"
    assert inspect(dual, width=64).family == "sd3"


def test_where_two_families_have_the_module_the_trainers_word_counts() -> None:
    key = "transformer.transformer_blocks.0.attn.to_q.lora_A.weight"
    assert inspect(key).family is None
    assert inspect(key).parts == ["transformer"]
    assert inspect(key, ss_base_model_version="flux1").family == "flux"


@pytest.mark.parametrize(
    ("keys", "family", "parts"),
    [
        (("lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight",), None, ["text_encoder_3"]),
        (
            ("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
             "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight",
             "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"),
            "flux", ["text_encoder", "text_encoder_2", "transformer"],
        ),
        (
            ("text_encoder_2.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight",
             "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"),
            "flux", ["text_encoder_2", "transformer"],
        ),
        (
            ("text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1.lora_A.weight",
             "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight",
             "diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_A.weight"),
            "sd3", ["text_encoder_2", "text_encoder_3", "transformer"],
        ),
    ],
)  # fmt: skip
def test_text_encoders_beside_a_transformer_are_named(
    keys: tuple[str, ...], family: str | None, parts: list[str]
) -> None:
    info = inspect(*keys)
    assert (info.family, info.parts) == (family, parts)


@pytest.mark.parametrize(
    ("facts", "key"),
    [(facts, key) for facts in (FLUX, SD3, QWEN_IMAGE, Z_IMAGE, SD1, SDXL) for _, key in FILES.values()],
)
def test_a_lora_fits_the_models_of_its_family_alone(facts: FamilyFacts, key: str) -> None:
    info = inspect(key, "transformer.transformer_blocks.20.attn.to_q.lora_A.weight")
    family = info.family or "unknown"
    why = incompatibility(info, signature(facts))
    assert (why is None) == (facts.name == family)
    assert why is None or facts.label in why


def test_a_lora_of_a_unet_does_not_fit_a_transformer() -> None:
    key = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
    known, toy = inspect(key, width=768), inspect(key, width=48)
    assert str(incompatibility(known, signature(FLUX))).startswith("was trained for Stable Diffusion 1")
    assert "UNet" in str(incompatibility(toy, signature(FLUX)))


def test_parts_that_cannot_be_trained_are_refused_by_name() -> None:
    text = "text_encoder.model.layers.0.self_attn.q_proj.lora_A.weight"
    why = incompatibility(inspect(text, FILES["qwen PEFT"][1]), signature(QWEN_IMAGE))
    assert why == "trains text_encoder, and only transformer of Qwen-Image can be trained"
    t5 = "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight"
    assert incompatibility(inspect(t5, FILES["flux PEFT"][1]), signature(FLUX)) is None
    assert incompatibility(inspect(t5), signature(SD3)) is None
    assert "trains text_encoder_3, and only transformer" in str(
        incompatibility(inspect(t5), signature(Z_IMAGE))
    )
    clip = "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight"
    assert incompatibility(inspect(clip, FILES["flux PEFT"][1]), signature(FLUX)) is None
    assert incompatibility(inspect(clip), signature(FLUX)) is None  # the first encoder of many models


T5_MODULE = "encoder.block.0.layer.0.SelfAttention.q"
#: Names of T5, and the families that it may be of; the parts of a file that trains nothing else.
T5_FILES: dict[str, tuple[list[FamilyFacts], list[str]]] = {
    f"text_encoder_2.{T5_MODULE}.lora_A.weight": ([FLUX], ["text_encoder_2"]),
    f"lora_te2_{T5_MODULE.replace('.', '_')}.lora_down.weight": ([FLUX], ["text_encoder_2"]),
    f"text_encoder_3.{T5_MODULE}.lora_A.weight": ([SD3], ["text_encoder_3"]),
    f"lora_te3_{T5_MODULE.replace('.', '_')}.lora_down.weight": ([FLUX, SD3], ["text_encoder_3"]),
    f"text_encoders.t5xxl.transformer.{T5_MODULE}.lora_down.weight": ([FLUX, SD3], ["text_encoder_3"]),
}


@pytest.mark.parametrize("key", T5_FILES)
def test_a_t5_alone_fits_the_models_whose_text_encoder_has_that_name(key: str) -> None:
    fitting, parts = T5_FILES[key]
    info = inspect(key, width=4096)
    assert info.parts == parts
    for facts in (FLUX, SD3, QWEN_IMAGE, Z_IMAGE, SD1, SDXL):
        why = incompatibility(info, signature(facts))
        assert (why is None) == (facts in fitting), why
        assert why is None or facts.label in why


def test_the_trainers_word_tells_which_text_encoder_t5_is() -> None:
    key = f"lora_te3_{T5_MODULE.replace('.', '_')}.lora_down.weight"
    assert inspect(key, ss_base_model_version="flux1").parts == ["text_encoder_2"]
    assert inspect(key, ss_base_model_version="sd3m").parts == ["text_encoder_3"]


def test_a_block_number_of_thousands_of_digits_is_no_block() -> None:
    key = "transformer_blocks." + "9" * 5000 + ".attn.to_q.lora_A.weight"
    assert inspect(key).family is None


def linear(stem: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{stem}.lora_A.weight": (8, inputs), f"{stem}.lora_B.weight": (outputs, 8)}


def described(shapes: dict[str, tuple[int, ...]]) -> LoraInfo:
    return inspect_lora({key: TensorInfo("BF16", shape, (0, 0)) for key, shape in shapes.items()}, {})


#: Files of models that are not served, with names that a family has, too; what is said of each.
FOREIGN: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "Flux.2 dev": (
        linear("diffusion_model.double_blocks.0.img_attn.qkv", 6144, 18432),
        "trains double_blocks_img_attn_qkv of 6144 inputs; that of the model, Flux.1, has 3072",
    ),
    "Flux.2 klein": (
        linear("double_blocks.0.img_mlp.0", 3072, 18432),
        "trains double_blocks_img_mlp_0 of 18432 outputs; that of the model, Flux.1, has 12288",
    ),
    "Flux.2 diffusers": (
        linear("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj", 6144, 55296),
        "was trained for Flux.2; the model is Flux.1",
    ),
    "Flux.2 diffusers double": (
        linear("transformer.single_transformer_blocks.0.attn.to_q", 6144, 6144),
        "trains single_transformer_blocks_attn_to_q of 6144 inputs; that of the model, Flux.1, has 3072",
    ),
    "HunyuanVideo": (
        linear("diffusion_model.double_blocks.0.img_attn_qkv", 3072, 9216),
        "was trained for HunyuanVideo; the model is Flux.1",
    ),
    "HunyuanVideo kohya": (
        linear("lora_unet_double_blocks_0_img_mlp_fc1", 3072, 12288),
        "was trained for HunyuanVideo; the model is Flux.1",
    ),
    "HunyuanVideo by blocks": (
        linear("lora_unet_double_blocks_19_img_attn_qkv", 3072, 9216),
        "trains double_blocks up to number 19; the model, Flux.1, has 19 of them",
    ),
    "Chroma": (
        linear("distilled_guidance_layer.layers.0.in_layer", 5120, 5120),
        "was trained for Chroma; the model is Flux.1",
    ),
    "Wan": (
        linear("diffusion_model.blocks.0.self_attn.q", 5120, 5120),
        "was trained for Wan; the model is Flux.1",
    ),
    "Wan kohya": (
        linear("lora_unet_blocks_0_cross_attn_k", 5120, 5120),
        "was trained for Wan; the model is Flux.1",
    ),
    "a tiny Flux": (
        linear("lora_unet_final_layer_linear", 32, 64),
        "trains final_layer_linear of 32 inputs; that of the model, Flux.1, has 3072",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_lora_of_another_model_with_fluxs_names_does_not_fit_flux(name: str) -> None:
    shapes, told = FOREIGN[name]
    info = described(shapes)
    assert incompatibility(info, signature(FLUX), denoiser={}) == told
    for facts in (SD1, SDXL):
        assert incompatibility(info, signature(facts)) is not None


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        (
            linear("diffusion_model.layers.0.attention.qkv", 2304, 3840),
            "trains layers_attention_qkv of 2304 inputs; that of the model, Z-Image, has 3840",
        ),
        (
            linear("layers.0.adaLN_modulation.1", 1024, 9216),
            "was trained for Lumina 2; the model is Z-Image",
        ),
    ],
)
def test_a_lora_of_lumina_does_not_fit_z_image(shapes: dict[str, tuple[int, ...]], told: str) -> None:
    assert incompatibility(described(shapes), signature(Z_IMAGE), denoiser={}) == told


@pytest.mark.parametrize("form", ["hada", "lokr", "lokr factored", "diff"])
def test_the_widths_of_lycoris_forms_are_those_of_their_products(form: str) -> None:
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    factors: dict[str, dict[str, tuple[int, ...]]] = {
        "hada": {
            "hada_w1_a": (9216, 4),
            "hada_w1_b": (4, 3072),
            "hada_w2_a": (9216, 4),
            "hada_w2_b": (4, 3072),
        },
        "lokr": {"lokr_w1": (96, 32), "lokr_w2": (96, 96)},
        "lokr factored": {
            "lokr_w1_a": (96, 4),
            "lokr_w1_b": (4, 32),
            "lokr_w2_a": (96, 4),
            "lokr_w2_b": (4, 96),
        },
        "diff": {"diff": (9216, 3072)},
    }
    info = described({f"{stem}.{role}": shape for role, shape in factors[form].items()})
    assert info.modules.widths == {"double_blocks_img_attn_qkv": (3072, 9216)}
    assert incompatibility(info, signature(FLUX), denoiser={}) is None
    assert incompatibility(info, signature(FLUX), denoiser={"num_attention_heads": 8}) is not None


@pytest.mark.parametrize("prefix", ["", *TRANSFORMER_PREFIXES])
@pytest.mark.parametrize("stem", ["transformer_blocks.0.attn.to_q", "final_layer.linear", "img_in"])
def test_a_transformer_is_one_by_every_prefix_that_is_loaded(prefix: str, stem: str) -> None:
    name = prefix + (stem.replace(".", "_") if prefix.endswith("_") else stem)
    info = described(linear(name, 3072, 3072))
    assert (info.family, info.parts) == (None, ["transformer"])
    for facts in (SD1, SDXL):
        assert "was trained for a transformer" in str(incompatibility(info, signature(facts)))
    assert incompatibility(info, signature(FLUX), denoiser={}) is None
