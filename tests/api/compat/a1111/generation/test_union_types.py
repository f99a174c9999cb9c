"""Which ``control_mode`` a unit means."""

import pytest

from api.compat.a1111.generation.union_types import control_mode_of, find_type
from shared.errors import InvalidRequest
from shared.families.controlnets import ControlNetTraits
from shared.families.flux import FLUX
from shared.families.unet import SDXL

PROMAX = SDXL.controlnet_traits({"_class_name": "ControlNetUnionModel", "num_control_type": 8})
FLUX_UNION = FLUX.controlnet_traits({"num_mode": 10})
UNNAMED = FLUX.controlnet_traits({"num_mode": 3})
PLAIN = FLUX.controlnet_traits({})


def mode_of(asked: str, preprocessor: str, traits: ControlNetTraits | None) -> int | None:
    return control_mode_of(asked, preprocessor, "union", traits, field="args.0.union_control_type")


def test_the_types_of_sd_webui_controlnet_are_those_of_its_union_in_order() -> None:
    types = (
        "OpenPose", "Depth", "Soft Edge", "Hard Edge", "Normal Map", "Segmentation", "Tile", "Inpaint",
    )  # fmt: skip
    assert [find_type(name, PROMAX) for name in types] == list(range(8))


@pytest.mark.parametrize(
    ("asked", "traits", "mode"),
    [
        ("Depth", FLUX_UNION, 2),
        ("OpenPose", FLUX_UNION, 4),
        ("Hard Edge", FLUX_UNION, 0),
        ("Tile", FLUX_UNION, 1),
        ("blur", FLUX_UNION, 3),  # which its tile is beside
        ("blur", PROMAX, 6),  # which has it in its tile
        ("low quality", FLUX_UNION, 6),
        ("LQ", FLUX_UNION, 6),
        ("scribble", PROMAX, 2),
        ("anime_lineart", PROMAX, 3),
        (" 9 ", FLUX_UNION, 9),
        ("2", UNNAMED, 2),
        ("Depth", PLAIN, None),  # as there: it counts for unions alone
        ("Unknown", PLAIN, None),
        ("1", None, 1),
        ("Depth", None, None),  # its worker says that it needs a number, if it is a union
    ],
)
def test_a_kind_is_found_by_its_name_or_another_word_or_its_number(
    asked: str, traits: ControlNetTraits | None, mode: int | None
) -> None:
    assert mode_of(asked, "none", traits) == mode


@pytest.mark.parametrize("asked", ["", "Unknown", "unknown"])
@pytest.mark.parametrize(
    ("preprocessor", "of_promax", "of_flux"),
    [("canny", 3, 0), ("lineart_standard", 3, 0), ("tile_resample", 6, 1), ("blur_gaussian", 6, 3)],
)
def test_without_a_type_the_module_tells_it(
    asked: str, preprocessor: str, of_promax: int, of_flux: int
) -> None:
    assert (mode_of(asked, preprocessor, PROMAX), mode_of(asked, preprocessor, FLUX_UNION)) == (
        of_promax,
        of_flux,
    )
    assert mode_of("Depth", preprocessor, PROMAX) == 1  # a type that is given counts


FLUX_CHOICES = "canny, tile, depth, blur, pose, gray, low quality, or a number from 0 to 9"


@pytest.mark.parametrize(
    ("asked", "preprocessor", "traits", "choices"),
    [
        ("", "none", FLUX_UNION, FLUX_CHOICES),
        ("Unknown", "invert", FLUX_UNION, FLUX_CHOICES),  # whose maps are of several kinds
        ("", "scribble_xdog", FLUX_UNION, FLUX_CHOICES),
        ("Soft Edge", "none", FLUX_UNION, FLUX_CHOICES),
        ("Segmentation", "canny", FLUX_UNION, FLUX_CHOICES),
        ("10", "none", FLUX_UNION, FLUX_CHOICES),
        ("-1", "canny", FLUX_UNION, FLUX_CHOICES),
        ("9" * 5000, "canny", FLUX_UNION, FLUX_CHOICES),
        ("Depth", "canny", UNNAMED, "is a number from 0 to 2"),
    ],
)
def test_what_is_none_of_its_kinds_is_refused_with_those_that_are(
    asked: str, preprocessor: str, traits: ControlNetTraits, choices: str
) -> None:
    with pytest.raises(InvalidRequest, match="'union' is a union") as refused:
        mode_of(asked, preprocessor, traits)
    assert str(refused.value).endswith(choices)
    assert refused.value.field == "args.0.union_control_type"
