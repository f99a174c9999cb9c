"""Which of a union's kinds of control a unit means: ``union_control_type``, or what its module computes.

sd-webui-controlnet knows the kinds of one union, xinsir's. Those of another are found by its own names for
them, and by other words for the same. Source: Mikubill/sd-webui-controlnet, ``scripts/enums.py``
(``ControlNetUnionControlType``).
"""

from collections.abc import Mapping

from shared.errors import InvalidRequest
from shared.families.controlnets import ControlNetTraits

#: Of a number; no union has more kinds of control.
_DIGITS = 3
#: Nothing is chosen.
_UNSET = ("", "unknown")
#: Words for the same kind of control.
_SYNONYMS = (
    frozenset({"openpose", "pose"}),
    frozenset({"softedge", "hed", "pidi", "scribble", "ted"}),
    frozenset({"hardedge", "canny", "lineart", "anime_lineart", "mlsd"}),
    frozenset({"normalmap", "normal"}),
    frozenset({"segmentation", "segment"}),
    frozenset({"tile", "blur"}),
    frozenset({"inpaint", "repaint"}),
    frozenset({"lowquality", "lq"}),
)
#: What preprocessors make maps of; what others make fits several kinds, or none.
_KINDS_OF_MAPS: Mapping[str, str] = {
    "canny": "canny",
    "lineart_standard": "lineart",
    "scribble_xdog": "scribble",
    "tile_resample": "tile",
    "blur_gaussian": "blur",
}


def control_mode_of(
    asked: str, preprocessor: str, controlnet: str, traits: ControlNetTraits | None, *, field: str
) -> int | None:
    """The ``control_mode`` of a unit; ``None`` for a ControlNet that is no union.

    ``asked`` is its ``union_control_type``, which counts for unions alone, as there. It may be a number here:
    nothing else helps where the names, or the ``traits``, are not known. Raises `InvalidRequest`.
    """
    asked = asked.strip()
    number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) <= _DIGITS else None
    if traits is None:
        return number
    if not traits.control_types:
        return None
    is_set = asked.lower() not in _UNSET
    mode = find_type(asked if is_set else _KINDS_OF_MAPS.get(preprocessor, ""), traits)
    mode = mode if number is None else number
    if mode is None or mode >= traits.control_types:
        names = "".join(f"{name}, " for name in traits.control_type_names)
        choices = f"{names}{'or ' if names else ''}a number from 0 to {traits.control_types - 1}"
        detail = f"ControlNet {controlnet!r} is a union: its union_control_type is {choices}"
        raise InvalidRequest(detail, field=field)
    return mode


def find_type(kind: str, traits: ControlNetTraits) -> int | None:
    """The number of a union's kind of control that goes by a name, or by another word for the same."""
    names = [{_word(part) for part in name.split("/")} for name in traits.control_type_names]
    word = frozenset({_word(kind)})
    alike = [words for words in _SYNONYMS if word <= words]
    for words in (word, *alike):  # a union may tell apart what others take for the same
        found = [i for i, own in enumerate(names) if own & words]
        if len(found) == 1:
            return found[0]
    return None


def _word(name: str) -> str:
    return name.strip().lower().replace(" ", "")
