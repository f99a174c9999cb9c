"""Options of a model's scheduler config that the catalog sets in place of those in the model's own files."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from shared.families.base import Config, FamilyFacts

#: TOML has no null: how a catalog writes it.
_NULL = "none"
SchedulerOption = Annotated[
    bool | int | Annotated[float, Field(allow_inf_nan=False)] | str | None,
    BeforeValidator(lambda value: None if value == _NULL else value),
]

#: Of flow matching, what decides the shift, and diffusers' defaults: files leave out what they had not yet.
SHIFT_OPTIONS: Mapping[str, bool | float | str | None] = {
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "shift": 1.0,
    "shift_terminal": None,
    "time_shift_type": "exponential",
    "use_dynamic_shifting": False,
}
#: The same of other schedulers: diffusers' defaults, of which only the kind counts here.
DIFFUSION_OPTIONS: Mapping[str, bool | float | str | None] = {
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": False,
    "clip_sample_range": 1.0,
    "dynamic_thresholding_ratio": 0.995,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "sample_max_value": 1.0,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "thresholding": False,
    "timestep_spacing": "linspace",
}
#: Options that are one of a few texts. Those of ``beta_schedule`` are not the same in every class.
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "prediction_type": ("epsilon", "sample", "v_prediction"),
    "time_shift_type": ("exponential", "linear"),
    "timestep_spacing": ("leading", "linspace", "trailing"),
}
#: Schedulers that other models use, too, and so call the shift otherwise.
_FLOW_SHIFT = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
#: Whole numbers, of which there is at least this.
_LEAST = {"num_train_timesteps": 1, "steps_offset": 0}


def find_wrong_option(
    options: Mapping[str, Any], config: Config, facts: FamilyFacts
) -> tuple[str, str] | None:
    """The first option that cannot stand in place of one of the ``config``, the model's own.

    With the reason, as the end of a sentence. Names that begin with an underscore are no options.
    """
    own = {name: value for name, value in config.items() if not name.startswith("_")}
    known = {**own, **SHIFT_OPTIONS} if facts.matches_flow else {**DIFFUSION_OPTIONS, **own}
    if facts.matches_flow and config.get("_class_name") in _FLOW_SHIFT:
        known = {"flow_shift": known.pop("shift"), **known}  # whose default is the same
    for name, value in options.items():
        if name not in known:
            return name, f"is no option of the model's scheduler; it has {', '.join(sorted(known))}"
        if (why := _misfit(name, value, known[name])) is not None:
            return name, why
    merged = {**known, **options}
    ends = ("base_image_seq_len", "max_image_seq_len")
    if facts.matches_flow and merged[ends[0]] == merged[ends[1]]:
        return next(((name, f"{' and '.join(ends)} must differ") for name in options if name in ends), None)
    return None


def _misfit(name: str, value: Any, known: Any) -> str | None:
    if value not in (texts := _TEXTS.get(name, (value,))):
        return f"is {value!r}; must be {' or '.join(map(repr, texts))}"
    least = _LEAST.get(name)
    if least is not None and _kind(value) == "a number" and (isinstance(value, float) or value < least):
        return f"is {value}; must be a whole number, at least {least}"
    if name == "shift" and _kind(value) == "a number" and value <= 0:
        return f"is {value}; must be above 0"
    kinds = {_kind(known)} if known is not None else {_kind(None), "a number"}
    if _kind(value) not in kinds:
        return f"is {_kind(value)}; must be {' or '.join(sorted(kinds))}"
    return None


def _kind(value: Any) -> str:
    if value is None:
        return f"null ({_NULL!r})"
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, int | float) else "a text"
