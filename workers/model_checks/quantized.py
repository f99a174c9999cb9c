"""Refuses quantized weights. Floats of eight bits are none: they are widened when they are loaded."""

from collections.abc import Mapping
from typing import Any

from shared.storage.safetensors_header import TensorInfo
from workers.model_checks.weight_files import Unloadable

#: Names of the scales that ComfyUI and others store beside weights of eight bits.
_SCALES = (".scale_weight", ".weight_scale", ".scale_input", ".input_scale", "scaled_fp8")


def refuse_quantized_config(config: Mapping[str, Any], what: str) -> None:
    """Raise `Unloadable` for a part with such a config: ``what`` it is."""
    quantized = config.get("quantization_config")
    if isinstance(quantized, dict):
        method = quantized.get("quant_method") or quantized.get("quant_type") or "an unknown way"
        raise Unloadable(f"{what} is quantized ({method}): that is not served")


def refuse_quantized_weights(what: str, tensors: Mapping[str, TensorInfo]) -> None:
    """Raise `Unloadable` for weights that are integers or have scales of their own.

    Libraries take integers for ordinary numbers, and pass over scales.
    """
    for name, tensor in tensors.items():
        if name.endswith(".weight") and tensor.dtype.startswith(("I", "U")):
            raise Unloadable(f"{what} has weights of {tensor.dtype}, such as {name}: that is not served")
        if name.endswith(_SCALES):
            raise Unloadable(f"{what} has scales of quantized weights, such as {name}: that is not served")
