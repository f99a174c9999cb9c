"""Text encoders of two or three layers with random weights."""

from typing import Any

from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from infra.tiny_models.weights import randomize


def clip_text_encoder(tokenizer: Any, width: int, *, projected: bool = False, seed: int = 0) -> Any:
    """CLIP's text model; ``projected``: with a projection, to ``width``, as Stable Diffusion 3 has them."""
    config = CLIPTextConfig(
        **_size(width, tokenizer),
        num_hidden_layers=3,
        max_position_embeddings=32,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    return randomize(kind(config), seed)


def t5_encoder(tokenizer: Any, width: int, seed: int = 0) -> Any:
    config = T5Config(
        d_model=width,
        d_ff=2 * width,
        d_kv=width // 2,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        vocab_size=len(tokenizer),
    )
    return randomize(T5EncoderModel(config), seed)


def qwen2_5_vl(tokenizer: Any, width: int, seed: int = 0) -> Any:
    """Qwen-Image's: a language model and a vision tower that text never reaches."""
    ids = {
        name: tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in (
            ("vision_start_token_id", "vision_start"),
            ("vision_end_token_id", "vision_end"),
            ("image_token_id", "image_pad"),
            ("video_token_id", "video_pad"),
        )
    }
    text = {
        **_size(width, tokenizer),
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [width // 8, width // 16, width // 16],
        },
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    layers = {"hidden_size": width, "intermediate_size": 2 * width}
    vision = {**layers, "depth": 1, "num_heads": 2, "out_hidden_size": width, "fullatt_block_indexes": [0]}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    return randomize(Qwen2_5_VLForConditionalGeneration(config), seed)


def qwen3(tokenizer: Any, width: int, seed: int = 0) -> Any:
    """Z-Image's: it uses what goes into the last layer."""
    config = Qwen3Config(
        **_size(width, tokenizer),
        num_hidden_layers=3,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=4096,
        bos_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return randomize(Qwen3Model(config), seed)


def _size(width: int, tokenizer: Any) -> dict[str, Any]:
    """What configs of such models say of their layers."""
    return {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_attention_heads": 2,
        "vocab_size": len(tokenizer),
    }
