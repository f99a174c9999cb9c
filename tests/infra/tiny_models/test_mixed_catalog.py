from pathlib import Path

from infra.tiny_models.mixed_catalog import MODELS, write_mixed_catalog
from shared.catalog.catalog import read_catalog
from workers.runtime.weights.source import estimate_bytes


def test_a_worker_has_memory_for_each_model_of_the_mixed_catalog_and_not_for_all(tmp_path: Path) -> None:
    written = write_mixed_catalog(tmp_path)
    catalog = read_catalog(written.path)
    assert set(catalog.models) == set(MODELS)
    assert all(len(catalog.controlnets_of(model)) == 1 for model in MODELS)
    sizes = [estimate_bytes(str(folder), "float32") for folder in written.models.values()]
    assert max(sizes) < written.memory_bytes < sum(sizes)
