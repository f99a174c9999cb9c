"""Quantized weights are refused by the names and types in a file's header."""

import pytest

from shared.storage.safetensors_header import TensorInfo
from workers.model_checks.quantized import refuse_quantized_weights
from workers.model_checks.weight_files import Unloadable


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("blocks.0.weight", "I8"),
        ("blocks.0.scale_weight", "F32"),
        ("blocks.0.weight_scale", "F32"),
        ("scaled_fp8", "F8_E4M3"),
    ],
)
def test_integers_and_scales_of_weights_are_refused_by_name(name: str, dtype: str) -> None:
    with pytest.raises(Unloadable, match=name):
        refuse_quantized_weights("it", {name: TensorInfo(dtype, (1,), (0, 4))})


def test_floats_of_eight_bits_without_scales_are_served() -> None:
    refuse_quantized_weights("it", {"blocks.0.weight": TensorInfo("F8_E4M3", (4,), (0, 4))})
