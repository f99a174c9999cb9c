"""Which module loads the models of each family; `shared.families.registry` has their facts."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared.families.unet import SD1, SD2, SDXL
from workers.families.base_family import Family
from workers.families.flux.loading import FLUX_FAMILY
from workers.families.qwen_image.loading import QWEN_IMAGE_FAMILY
from workers.families.sd3.loading import SD3_FAMILY
from workers.families.unet.loading import UNetFamily
from workers.families.z_image.loading import Z_IMAGE_FAMILY
from workers.model_checks.weight_files import Unloadable

BUILT_IN: tuple[Family, ...] = (
    *(UNetFamily(facts) for facts in (SD1, SD2, SDXL)),
    FLUX_FAMILY,
    QWEN_IMAGE_FAMILY,
    SD3_FAMILY,
    Z_IMAGE_FAMILY,
)
_families: dict[str, Family] = {family.facts.name: family for family in BUILT_IN}


def family(name: str) -> Family:
    """The family of that name; raises `Unloadable` for one of which the web alone has facts."""
    if name not in _families:
        raise Unloadable(f"no worker loads models of family {name!r} yet")
    return _families[name]


@contextmanager
def registered(new: Family) -> Iterator[None]:
    """Within the block there is one more family; its facts are registered beside it."""
    _families[new.facts.name] = new
    try:
        yield
    finally:
        del _families[new.facts.name]
