from pathlib import Path

from infra.bench.timed.models import make_timed
from infra.bench.timed.times import Times, read_times
from shared.catalog.catalog import read_catalog
from shared.settings import Settings


def test_every_controlnet_of_the_timed_catalog_fits_every_timed_model(tmp_path: Path) -> None:
    path = make_timed(tmp_path, ("one", "two"), ("edge-one", "edge-two"), stretch=2.5)
    catalog = read_catalog(path, Settings(catalog=path))
    assert catalog.default_model == "one"
    for model in ("one", "two"):
        assert {"edge-one", "edge-two"} <= set(catalog.controlnets_of(model))
    assert read_times(path) == Times(2.5)


def test_steps_can_be_stretched_besides_and_loads_of_loras_left_out(tmp_path: Path) -> None:
    assert read_times(make_timed(tmp_path, stretch=0.5, step_stretch=4.0, lora_load_s=0.0)) == (0.5, 4.0, 0.0)
