from pathlib import Path

from infra.bench.timed.device import read_stretch
from infra.bench.timed.models import make_timed
from shared.catalog.catalog import read_catalog
from shared.settings import Settings


def test_every_controlnet_of_the_timed_catalog_fits_every_timed_model(tmp_path: Path) -> None:
    path = make_timed(tmp_path, ("one", "two"), ("edge-one", "edge-two"), stretch=2.5)
    catalog = read_catalog(path, Settings(catalog=path))
    assert catalog.default_model == "one"
    for model in ("one", "two"):
        assert {"edge-one", "edge-two"} <= set(catalog.controlnets_of(model))
    assert read_stretch(path) == 2.5
