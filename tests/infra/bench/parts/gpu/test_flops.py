"""Operations of SDXL's UNet, from its architecture alone."""

import pytest

from infra.bench.parts.gpu.flops import unet_tflop
from infra.bench.parts.gpu.sizes import SDXL


def test_a_step_of_sdxl_has_the_operations_of_its_attention_too() -> None:
    # 2.98 · 10¹² multiply-adds a row without attention's own products, as it is often cited
    assert 2 * 2.98 * 2 < unet_tflop(SDXL, 2) == pytest.approx(13.5, rel=0.01)
