"""A LoRA in the key style of kohya's trainer, which most published files use."""

from collections.abc import Mapping

import torch
from torch import Tensor

PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}
MATRICES = {".lora_A.weight": ".lora_down.weight", ".lora_B.weight": ".lora_up.weight"}


def to_kohya(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under kohya's names, with the alpha kohya expects: the rank."""
    renamed: dict[str, Tensor] = {}
    for key, value in weights.items():
        part, path = key.split(".", 1)
        matrix = next(suffix for suffix in MATRICES if path.endswith(suffix))
        module = PREFIXES[part] + path.removesuffix(matrix).removeprefix("text_model.").replace(".", "_")
        renamed[module + MATRICES[matrix]] = value
        if matrix == ".lora_A.weight":
            renamed[f"{module}.alpha"] = torch.tensor(float(len(value)))
    return renamed
