"""Qwen-Image at toy size, and its kinds of ControlNet."""

from typing import Any, Literal

from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    QwenImageControlNetModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)

from infra.tiny_models.text_encoders import qwen2_5_vl
from infra.tiny_models.tokenizers import qwen_tokenizer
from infra.tiny_models.vaes import CHANNELS, video_vae
from infra.tiny_models.weights import randomize, without_progress_bar

TEXT_WIDTH = 32
#: "inpaint" takes a mask, a channel of each of a token's four latents.
QwenImageControlNetKind = Literal["union", "inpaint"]
_KINDS: dict[str, dict[str, Any]] = {"union": {}, "inpaint": {"extra_condition_channels": 4}}
_SIZE: dict[str, Any] = {
    "in_channels": 4 * CHANNELS,
    "out_channels": CHANNELS,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": TEXT_WIDTH,
    "axes_dims_rope": (4, 6, 6),
}


def make_qwen_image(*, layers: int = 6, seed: int = 0) -> Any:
    """A `QwenImagePipeline`; Qwen-Image has 60 layers."""
    tokenizer = qwen_tokenizer()
    return without_progress_bar(
        QwenImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(
                base_shift=0.5,
                max_shift=0.9,
                max_image_seq_len=8192,
                shift=1.0,
                shift_terminal=0.02,
                use_dynamic_shifting=True,
            ),
            vae=video_vae(seed),
            text_encoder=qwen2_5_vl(tokenizer, TEXT_WIDTH, seed),
            tokenizer=tokenizer,
            transformer=randomize(QwenImageTransformer2DModel(num_layers=layers, **_SIZE), seed),
        )
    )


def make_qwen_image_controlnet(
    kind: QwenImageControlNetKind = "union", *, layers: int = 2, seed: int = 1, **options: Any
) -> Any:
    """A `QwenImageControlNetModel` whose output layers are not zero (InstantX's union has 5 layers)."""
    config = {**_SIZE, "num_layers": layers, **_KINDS[kind], **options}
    return randomize(QwenImageControlNetModel(**config), seed)
