"""What of a model decides which kernels compute with it, and whether it computes as in training."""

from typing import Any

from torch import nn


def layout(module: nn.Module) -> dict[str, Any]:
    """Of every weight by its name, and of every module with the name ``training``."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        name: (tensor.dtype, tensor.shape, tensor.stride(), tensor.requires_grad, tensor.data_ptr() % 64)
        for name, tensor in tensors.items()
    } | {f"{name}.training": part.training for name, part in module.named_modules()}
