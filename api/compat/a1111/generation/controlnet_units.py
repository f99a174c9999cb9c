"""Units of sd-webui-controlnet: ``alwayson_scripts.ControlNet.args``, as clients send them.

Source: Mikubill/sd-webui-controlnet, ``internal_controlnet/args.py`` (``ControlNetUnit``) and
``scripts/enums.py``; its wiki page "API" has the older names.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from api.compat.a1111.generation.images.resizing import ResizeMode
from api.compat.a1111.generation.preprocessors import UNSET, find_preprocessor, read_thresholds
from api.compat.a1111.models import without_hash
from api.schemas.request_fields import field_error
from shared.catalog.preprocessors import NONE
from shared.errors import InvalidRequest
from shared.jobs.options import MAX_CONTROLNETS
from shared.message_base import Finite

#: The script's name, in lower case.
SCRIPT = "controlnet"
PLACE = "alwayson_scripts.ControlNet.args"
_BALANCED, _PROMPT, _CONTROL = range(3)
#: Enums, which clients send as text or as a number; the last three of each are old names.
_RESIZE_MODES = {
    "just resize": ResizeMode.JUST_RESIZE,
    "crop and resize": ResizeMode.CROP_AND_RESIZE,
    "resize and fill": ResizeMode.RESIZE_AND_FILL,
    "scale to fit (inner fit)": ResizeMode.CROP_AND_RESIZE,
    "inner fit (scale to fit)": ResizeMode.CROP_AND_RESIZE,
    "envelope (outer fit)": ResizeMode.RESIZE_AND_FILL,
    "outer fit (shrink to fit)": ResizeMode.RESIZE_AND_FILL,
    "just resize (latent upscale)": ResizeMode.JUST_RESIZE,
}
_CONTROL_MODES = {
    "balanced": _BALANCED,
    "my prompt is more important": _PROMPT,
    "controlnet is more important": _CONTROL,
}
_ALIASES = {"input_image": "image", "guidance": "guidance_end", "lowvram": "low_vram", "mask_image": "mask"}
#: Fields that would change the image, and that nothing here does.
_REFUSED = ("mask", "advanced_weighting", "effective_region_mask", "ipadapter_input")
#: What resolutions clients send without meaning one.
_ANY_RESOLUTION = (UNSET, 0, 64, 512)


def _as_text(value: Any) -> Any:
    """A number may be sent in place of a name."""
    return str(value) if type(value) is int else value


def _number_of(names: Mapping[str, int], *, others: int | None = None) -> BeforeValidator:
    """A name of an enum, or its number."""

    def read(value: Any) -> Any:
        if isinstance(value, str) and not value.strip().isdigit():
            if value.strip().lower() not in names:
                raise ValueError(f"known are {', '.join(names)}")
            return names[value.strip().lower()]
        number = int(value) if isinstance(value, str) else value
        if number not in names.values():
            if others is not None and isinstance(number, int):
                return others
            raise ValueError(f"known are {', '.join(names)}")
        return number

    return BeforeValidator(read)


class Unit(BaseModel):
    """One unit; fields of an IP-Adapter, of AnimateDiff and of the web page are not read."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    enabled: bool = True
    image: str | dict[str, Any] | list[Any] | None = None
    module: str = NONE
    model: str = ""
    weight: Finite = 1.0
    resize_mode: Annotated[ResizeMode, _number_of(_RESIZE_MODES, others=ResizeMode.JUST_RESIZE)] = (
        ResizeMode.CROP_AND_RESIZE
    )
    processor_res: int = UNSET
    threshold_a: Finite = UNSET
    threshold_b: Finite = UNSET
    guidance_start: Annotated[Finite, Field(ge=0, le=1)] = 0.0
    guidance_end: Annotated[Finite, Field(ge=0, le=1)] = 1.0
    pixel_perfect: bool = False
    control_mode: Annotated[int, _number_of(_CONTROL_MODES)] = _BALANCED
    guessmode: bool = False  # before there were control modes
    union_control_type: Annotated[str, BeforeValidator(_as_text)] = ""  # a name, or the number of it
    inpaint_crop_input_image: bool = True

    @model_validator(mode="before")
    @classmethod
    def _by_new_names(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        given = {name: value for name, value in given.items() if value is not None}
        for alias, name in _ALIASES.items():
            default = cls.model_fields[name].default if name in cls.model_fields else None
            if alias in given and given.get(name, default) == default:  # some clients send both
                given[name] = given[alias]
        for name in _REFUSED:
            if given.get(name):
                raise ValueError(f"{name} is not supported")
        return given

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> Self:
        if self.guidance_start >= self.guidance_end:
            raise ValueError("guidance_start must be less than guidance_end")
        return self

    @property
    def picks_control(self) -> bool:
        """Whether the ControlNet is more important than the prompt."""
        return self.control_mode == _CONTROL or self.guessmode


class ReadUnits(NamedTuple):
    """The enabled units of a call, with their places in its list."""

    units: Sequence[tuple[int, Unit]]

    def check(self) -> None:
        """Raise `InvalidRequest` for what these units cannot be together, or at all."""
        if len(self.units) > MAX_CONTROLNETS:
            raise InvalidRequest(f"{len(self.units)} units, the limit is {MAX_CONTROLNETS}", field=PLACE)
        for place, unit in self.units:
            if unit.control_mode == _PROMPT:
                detail = "control_mode 'My prompt is more important' is not supported"
                raise InvalidRequest(detail, field=f"{PLACE}.{place}.control_mode")
            if without_hash(unit.model).lower() in ("", "none"):
                raise InvalidRequest("no model is chosen", field=f"{PLACE}.{place}.model")
        if len({unit.picks_control for _, unit in self.units}) > 1:
            detail = "all units must have the same control_mode"
            raise InvalidRequest(detail, field=f"{PLACE}.{self.units[0][0]}.control_mode")

    @property
    def warnings(self) -> list[str]:
        """What is ignored of them."""
        found = []
        for place, unit in self.units:
            preprocessor = find_preprocessor(unit.module)
            for field in read_thresholds(preprocessor, unit.threshold_a, unit.threshold_b).refused:
                found.append(f"{PLACE}.{place}.{field} is out of bounds: the default is used")
            is_any = unit.pixel_perfect or unit.processor_res in _ANY_RESOLUTION
            if preprocessor != NONE and not is_any:
                found.append(f"{PLACE}.{place}.processor_res is ignored: it is the size of the image")
        return found


def read_units(scripts: Mapping[str, Any]) -> ReadUnits:
    """The units of a call's scripts; raises `InvalidRequest` for a script that is not ControlNet and is on.

    Also pydantic's `ValidationError`, for the field of a unit.
    """
    units: list[tuple[int, Unit]] = []
    for name, script in scripts.items():
        args = script.get("args", []) if isinstance(script, dict) else script
        args = [args] if isinstance(args, dict) else args
        if name.lower() == SCRIPT and isinstance(args, list):
            units += [(place, _read_unit(place, unit)) for place, unit in enumerate(args) if unit is not None]
        elif name.lower() == SCRIPT or not _is_off(args):
            detail = f"always on script {name[:60]!r} is not supported; ControlNet is"
            raise InvalidRequest(detail, field="alwayson_scripts")
    found = ReadUnits([(place, unit) for place, unit in units if unit.enabled])
    found.check()
    return found


def _is_off(args: Any) -> bool:
    """Whether the arguments of a script say, most of them in the first one, that it is not to run."""
    first = args[0] if isinstance(args, list) and args else False
    return first is False or (isinstance(first, dict) and not any(map(first.get, ("enabled", "enable"))))


def _read_unit(place: int, unit: Any) -> Unit:
    try:
        return Unit.model_validate(unit)
    except ValidationError as error:
        found = [field_error(one["type"], one["msg"], PLACE, place, *one["loc"]) for one in error.errors()]
        raise ValidationError.from_exception_data("Unit", found) from None
