from pathlib import Path

from infra.local.demo.models import MODELS
from infra.tiny_models.demo_flux import FILES
from shared.catalog.catalog import read_catalog
from shared.settings import Settings


def test_the_small_flux_is_made_once_and_its_job_names_what_its_catalog_has(tmp_path: Path) -> None:
    example = MODELS["tiny-flux"](Settings(home=tmp_path))
    catalog = read_catalog(example.settings.catalog)
    assert catalog.controlnets_of(catalog.default_model) == [example.controlnet]
    assert example.lora.exists()
    assert [lora["name"] for lora in example.request["loras"]] == [example.lora.stem]
    weights = next((tmp_path / "tiny-flux" / FILES.model / "transformer").glob("*.safetensors"))
    made_at = weights.stat().st_mtime_ns
    MODELS["tiny-flux"](Settings(home=tmp_path))
    assert weights.stat().st_mtime_ns == made_at
