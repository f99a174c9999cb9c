"""Values of the fields that only some families take."""

from typing import Any

from shared.jobs.families.options import FamilyOptions

#: A value of each field that is not its default.
VALUES: dict[str, Any] = {
    **dict.fromkeys(("prompt_2", "prompt_3"), "a dog"),
    **dict.fromkeys(("negative_prompt_2", "negative_prompt_3"), "a bird"),
    **dict.fromkeys((name for name in FamilyOptions.model_fields if "size" in name), (64, 64)),
    **dict.fromkeys((name for name in FamilyOptions.model_fields if "crops" in name), (1, 1)),
    "true_cfg_scale": 3.0,
    "max_sequence_length": 128,
    "shift": 2.0,
    "mu": 1.0,
    "cfg_normalization": 1.0,
    "cfg_truncation": 0.5,
    "guess_mode": True,
    "clip_skip": 1,
    "guidance_rescale": 0.5,
    "long_prompt": "chunk",
}
