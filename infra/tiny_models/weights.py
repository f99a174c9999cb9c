"""Random weights that are the same wherever they are made."""

from typing import Any

import torch


def without_progress_bar(pipe: Any) -> Any:
    """The pipeline, which writes nothing to the terminal."""
    pipe.set_progress_bar_config(disable=True)
    return pipe


def randomize(model: Any, seed: int, gain: float = 1.0) -> Any:
    """Fill every parameter from ``seed``, output layers that begin as zeros too; for inference only.

    ``gain`` is how much a layer keeps of its input's standard deviation, about.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * gain / parameter[0].numel() ** 0.5)
            elif name.endswith("bias"):
                parameter.copy_(noise * 0.02)
            else:  # of a normalization
                parameter.copy_(1 + noise * 0.1)
    return model.eval().requires_grad_(False)
