"""The tables of model families in `infra/docs/api.md` say what the facts of the families do."""

from collections.abc import Iterable

from shared.families.base import FamilyFacts, Mode
from shared.families.registry import families
from shared.settings import ROOT

DOCUMENT = ROOT / "infra" / "docs" / "api.md"
MODES: dict[Mode, str] = {"text": "texts", "image": "image", "mask": "mask"}


def test_the_table_of_fields_is_what_each_family_takes() -> None:
    assert_documented(
        "| family | takes besides | `guidance_scale`, `num_inference_steps` | sides |",
        "|---|---|---|---|",
        *(
            f"| {codes([facts.name])} | {fields_of(facts)} | {facts.defaults.guidance_scale:g},"
            f" {facts.defaults.num_inference_steps} | {facts.size_multiple} |"
            for facts in families()
        ),
    )


def test_the_table_of_modes_is_what_each_family_generates() -> None:
    assert_documented(
        "| family | begins from | with ControlNets from | of them at most | schedulers |",
        "|---|---|---|---|---|",
        *(
            f"| {codes([facts.name])} | {modes(facts.modes)} | {modes(facts.controlnet_modes)}"
            f" | {number_of_controlnets(facts)} | {schedulers(facts)} |"
            for facts in families()
        ),
    )


def test_the_table_of_defaults_is_what_jobs_have() -> None:
    assert_documented(
        "| family | from an image | from an image and a mask | ControlNets, from texts | from an image |"
        " from an image and a mask |",
        "|---|---|---|---|---|---|",
        *(
            f"| {codes([facts.name])} | {defaults(facts, 'image')} | {defaults(facts, 'mask')} |"
            f" {guided(facts, 'text')} | {guided(facts, 'image')} | {guided(facts, 'mask')} |"
            for facts in families()
        ),
    )


def defaults(facts: FamilyFacts, mode: Mode) -> str:
    usual = facts.job_defaults(mode, has_controlnets=False)
    return f"{usual.guidance_scale:g}, {usual.num_inference_steps}, {usual.strength:g}"


def guided(facts: FamilyFacts, mode: Mode) -> str:
    if mode not in facts.controlnet_modes:
        return "–"
    usual = facts.job_defaults(mode, has_controlnets=True)
    strength = "–" if mode == "text" else f"{usual.strength:g}"
    return f"{usual.guidance_scale:g}, {usual.num_inference_steps}, {strength}, {usual.conditioning_scale:g}"


def assert_documented(*rows: str) -> None:
    """The rows stand in the document, one after the other."""
    expected = "\n".join(rows)
    assert expected in DOCUMENT.read_text(), f"{DOCUMENT} must have:\n{expected}"


def fields_of(facts: FamilyFacts) -> str:
    """Fields, and of those whose default or limit the family decides, these."""
    own: dict[str, str] = {}
    if "true_cfg_scale" in facts.fields:
        own["true_cfg_scale"] = f" ({facts.true_cfg_scale:g})"
    if facts.text_tokens is not None:
        own["max_sequence_length"] = f" ({facts.text_tokens.default}, at most {facts.text_tokens.limit})"
    return " ".join(codes([field]) + own.get(field, "") for field in sorted(facts.fields))


def modes(found: Iterable[Mode]) -> str:
    return ", ".join(word for mode, word in MODES.items() if mode in found)


def number_of_controlnets(facts: FamilyFacts) -> str:
    if facts.max_controlnets is not None:
        return str(facts.max_controlnets)
    return "8" if facts.sums_controlnets else "8, all of one name"


def schedulers(facts: FamilyFacts) -> str:
    kind = "flow matching" if facts.matches_flow else "diffusion"
    return f"those of {kind}" + (
        f" but {codes(sorted(facts.unused_schedulers))}" if facts.unused_schedulers else ""
    )


def codes(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)
