"""The form for models and ControlNets of transformers, over an API whose catalog has their configs alone."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from api.services import Services
from infra.emoji_files import CONTROL
from shared.settings import Settings
from tests.api.gunicorn_server import environment, serving
from tests.api.services import image_file
from tests.api.transformer_catalog import with_transformers
from tests.browser import Screenshot, drop_file
from tests.console.generate_form import submit


@pytest.fixture(scope="module")
def transformers_api(
    own_servers: Settings, connected: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of an API whose default model is a Flux.1."""
    catalog = with_transformers(connected, tmp_path_factory.mktemp("catalog")).settings.catalog
    with serving({**environment(own_servers), "SWIFT_CATALOG": str(catalog)}) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def view(page: Page, transformers_api: str, services: Services) -> Page:
    page.goto(f"{transformers_api}/#/generate")
    expect(page.get_by_label("Prompt", exact=True)).to_be_visible()
    return page


def add_control_image(view: Page, name: str) -> None:
    drop_file(view.get_by_role("button", name="Add a control image"), "cat.png", CONTROL.read_bytes())
    view.get_by_label("ControlNet of ControlNet 1").select_option(name)


def add_image_and_mask(view: Page) -> None:
    drop_file(view.get_by_role("button", name="Image optional"), "start.png", image_file())
    drop_file(view.get_by_role("button", name="Mask optional"), "mask.png", image_file())


def shown_error(view: Page, field: Locator) -> Locator:
    """What the page says is wrong with a field."""
    expect(field).to_have_attribute("aria-invalid", "true")
    described = field.get_attribute("aria-describedby") or ""
    return view.locator(f"[id='{described.split()[-1]}']")  # behind the hint


def submit_again(view: Page, api: str, card: Locator) -> tuple[Locator, dict[str, Any]]:
    """Fill the form from a job, and submit it."""
    view.goto(f"{api}/#/generate?from={card.get_attribute('data-job')}")
    expect(view.get_by_label("Seed", exact=True)).not_to_have_value("")
    return submit(view)


def test_a_union_asks_what_its_image_is(
    view: Page,
    transformers_api: str,
    allowed_statuses: set[int],
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    allowed_statuses.add(422)
    mode = view.get_by_label("Control mode of ControlNet 1")
    add_control_image(view, "flux-5-10")
    expect(mode).to_have_count(0)
    view.get_by_label("ControlNet of ControlNet 1").select_option("flux-union")
    expect(mode).to_have_attribute("required", "")
    assert mode.locator("option").all_inner_texts() == [
        "choose one", "canny", "tile", "depth", "blur", "pose", "gray", "low quality", "mode 7", "mode 8",
        "mode 9",
    ]  # fmt: skip
    view.get_by_label("Prompt", exact=True).fill("a cat")
    expect(shown_error(view, mode)).to_contain_text("its control_mode is 0 to 9")
    assert_accessible(view)
    screenshot(view, "generate-union")
    mode.select_option("depth")
    expect(mode).not_to_have_attribute("aria-invalid", "true")
    card, sent = submit(view)
    assert sent["controlnets"][0]["control_mode"] == 2
    # It is kept in a form that is filled from the job, and is not that of another ControlNet
    _, sent = submit_again(view, transformers_api, card)
    assert sent["controlnets"][0]["control_mode"] == 2
    expect(mode).to_have_value("2")
    view.get_by_label("ControlNet of ControlNet 1").select_option("flux-5-10")
    _, sent = submit(view, "a dog")
    assert "control_mode" not in sent["controlnets"][0]


def test_a_controlnet_that_inpaints_has_no_image_of_its_own(
    view: Page,
    transformers_api: str,
    services: Services,
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    view.get_by_label("Model", exact=True).select_option("sd3")
    view.get_by_role("button", name="Inpaint with sd3-mask").click()
    expect(view.get_by_text("ControlNet 1 has no control image: it was trained to inpaint")).to_be_visible()
    expect(view.get_by_label("Preprocessor of ControlNet 1")).to_have_count(0)
    add_image_and_mask(view)
    assert_accessible(view)
    screenshot(view, "generate-inpaint")
    card, sent = submit(view)
    assert sent["controlnets"] == [{"name": "sd3-mask", "guidance_start": 0, "guidance_end": 1}]
    again, sent = submit_again(view, transformers_api, card)
    assert "image" not in sent["controlnets"][0]
    first, second = (services.jobs.get(one.get_attribute("data-job") or "").spec for one in (card, again))
    assert first == second
    view.get_by_role("button", name="Remove ControlNet 1").click()
    expect(view.get_by_label("ControlNet of ControlNet 1")).to_have_count(0)


def test_the_image_of_a_controlnet_is_asked_for_once_it_has_its_own(
    view: Page, allowed_statuses: set[int]
) -> None:
    allowed_statuses.add(422)
    view.get_by_label("Model", exact=True).select_option("sd3")
    view.get_by_role("button", name="Inpaint with sd3-mask").click()
    view.get_by_label("ControlNet of ControlNet 1").select_option("sd3-net")
    view.get_by_label("Prompt", exact=True).fill("a cat")
    expect(view.locator(".controlnet .file-drop .field-error")).to_contain_text("'sd3-net' needs an image")
    drop_file(view.get_by_role("button", name="Control image 1"), "cat.png", CONTROL.read_bytes())
    _, sent = submit(view)
    assert sent["controlnets"][0]["image"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("model", "placeholders"),
    [
        (
            "flux",
            {
                "Prompt 2": "as the first",
                "Negative prompt 2": "as the first",
                "True cfg scale": "1",
                "Max sequence length": "512",
                "Guidance": "3.5",
            },
        ),
        ("sd3", {"Prompt 3": "as the first", "Max sequence length": "256", "Shift": "the model's"}),
        ("sd3-dynamic", {"Prompt 3": "as the first", "Mu": "by the size"}),
        ("qwen", {"True cfg scale": "4", "Max sequence length": "512", "Steps": "50"}),
        ("z", {"Shift": "the model's", "Cfg truncation": "1", "Cfg normalization": "0"}),
    ],
)
def test_the_form_has_the_fields_of_the_models_family_with_their_defaults(
    view: Page, model: str, placeholders: dict[str, str]
) -> None:
    view.get_by_label("Model", exact=True).select_option(model)
    for label, default in placeholders.items():
        expect(view.get_by_label(label, exact=True)).to_have_attribute("placeholder", default)
    expect(view.get_by_label("Mu", exact=True)).to_have_count(int("Mu" in placeholders))


def test_scales_that_nobody_has_set_are_those_of_such_a_job(view: Page) -> None:
    strength = view.get_by_label("Strength: how much is generated anew, as a number")
    add_image_and_mask(view)
    expect(strength).to_have_value("0.6")
    view.get_by_label("Model", exact=True).select_option("z")
    add_control_image(view, "z-mask")
    weight = view.get_by_label("Weight of ControlNet 1, as a number")
    expect(strength).to_have_value("1")
    expect(weight).to_have_value("0.75")
    view.get_by_label("Model", exact=True).select_option("sd3")
    view.get_by_label("ControlNet of ControlNet 1").select_option("sd3-mask")
    expect(weight).to_have_value("1")
    _, sent = submit(view)
    assert (sent.get("strength"), sent["controlnets"][0].get("conditioning_scale")) == (None, None)
    weight.fill("0.5")
    _, sent = submit(view, "a dog")
    assert sent["controlnets"][0]["conditioning_scale"] == 0.5


def test_what_is_filled_in_for_a_family_is_sent_and_left_with_its_model(
    view: Page, transformers_api: str, allowed_statuses: set[int]
) -> None:
    allowed_statuses.add(422)
    view.get_by_label("Steps", exact=True).fill("7")
    sigmas = view.get_by_label("Sigmas", exact=True)
    view.get_by_label("Prompt", exact=True).fill("a cat")
    sigmas.fill("1, half")
    expect(shown_error(view, sigmas)).to_contain_text("valid number")
    sigmas.fill("1, 0.5")
    expect(view.get_by_label("Steps", exact=True)).to_have_value("")
    fields = {"Prompt 2": "a dog", "True cfg scale": "2", "Max sequence length": "256"}
    for label, value in fields.items():
        view.get_by_label(label, exact=True).fill(value)
    own = {"prompt_2": "a dog", "true_cfg_scale": 2, "max_sequence_length": 256, "sigmas": [1, 0.5]}
    card, sent = submit(view)
    assert sent == {"prompt": "a red apple", "negative_prompt": "", "num_images": 1, **own}
    view.goto(f"{transformers_api}/#/generate?from={card.get_attribute('data-job')}")
    expect(view.get_by_label("Prompt 2", exact=True)).to_have_value("a dog")
    _, sent = submit(view)
    assert {name: sent[name] for name in own} == own
    # Jobs from an image with ControlNets have no second forward: the field stays until it is empty
    drop_file(view.get_by_role("button", name="Image optional"), "start.png", image_file())
    add_control_image(view, "flux-5-10")
    scale = view.get_by_label("True cfg scale", exact=True)
    expect(shown_error(view, scale)).to_contain_text("true_cfg_scale")
    scale.fill("")
    expect(scale).to_have_count(0)
    # Another model has other fields
    view.get_by_label("Model", exact=True).select_option("z")
    expect(view.get_by_label("Prompt 2", exact=True)).to_have_count(0)
    expect(sigmas).to_have_value("")
