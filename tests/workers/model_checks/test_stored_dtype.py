"""A model that the default dtype would widen is told; one whose entry says a dtype is not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shared.catalog.entries import ModelEntry
from workers.model_checks.stored_dtype import widened_from


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Beside it a folder and a single file in each type of numbers."""
    for name in ("bfloat16", "float16", "float32"):
        dtype = getattr(torch, name)
        weights = {"weight": torch.zeros(8, 8, dtype=dtype), "norm.scale": torch.zeros(8)}
        (tmp_path / name / "transformer").mkdir(parents=True)
        save_file(weights, tmp_path / name / "transformer/diffusion_pytorch_model.safetensors")
        save_file(weights, tmp_path / f"{name}.safetensors")
    return tmp_path / "catalog.toml"


@pytest.mark.parametrize("suffix", ["", ".safetensors"], ids=["folder", "single file"])
@pytest.mark.parametrize("stored", ["bfloat16", "float16"])
def test_a_model_that_is_widened_by_default_is_told(catalog: Path, stored: str, suffix: str) -> None:
    assert widened_from(ModelEntry(source=f"{stored}{suffix}"), catalog) == stored


@pytest.mark.parametrize(
    "entry",
    [
        ModelEntry(source="float32"),
        ModelEntry(source="bfloat16", dtype="float32"),
        ModelEntry(source="bfloat16", dtype="bfloat16"),
        ModelEntry(source="hub:org/name"),
        ModelEntry(source="missing"),
    ],
    ids=["float32", "said", "same", "hub", "missing"],
)
def test_any_other_is_not(catalog: Path, entry: ModelEntry) -> None:
    assert widened_from(entry, catalog) is None
