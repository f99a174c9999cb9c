"""The view that submits jobs and shows what becomes of them; the test itself is the worker."""

import base64
import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import requests
from PIL import Image
from playwright.sync_api import Error, Locator, Page, Request, Route, expect

from api.services import Services
from infra.emoji_files import CONTROL
from shared.jobs.attempt import Attempt
from shared.jobs.record import StoredImage
from tests.api.services import OCTETS, announce_workers, base64_of, edge, image_file, lora, succeed
from tests.browser import Screenshot, drop_file
from tests.console.generate_form import submit
from tests.console.jobs import add_job


@pytest.fixture
def view(page: Page, api_only: str, services: Services) -> Page:
    """The view with live workers, who do nothing, and two LoRAs."""
    announce_workers(services)
    for name in ("anime", "paper cut"):
        services.loras.put(f"{name}.safetensors", lora(), content_type=OCTETS)
    page.goto(f"{api_only}/#/generate")
    expect(page.get_by_label("Prompt", exact=True)).to_be_visible()
    return page


def claim(services: Services, card: Locator) -> Attempt:
    attempt = services.jobs.claim(card.get_attribute("data-job") or "", "unet-1")
    assert attempt is not None
    return attempt


def test_what_is_left_empty_is_not_sent(view: Page) -> None:
    _, sent = submit(view)
    assert sent == {"prompt": "a red apple", "num_images": 1}


def test_everything_that_the_form_holds_is_sent(view: Page) -> None:
    view.get_by_label("Negative prompt").fill("blurry")
    fields = {"Width": "128", "Height": "64", "Images": "2", "Steps": "7", "Guidance": "2.5", "Seed": "11"}
    for label, value in fields.items():
        view.get_by_label(label, exact=True).fill(value)
    view.get_by_label("Scheduler").select_option("euler_a")
    view.get_by_role("button", name="Add LoRA paper cut").click()
    view.get_by_label("paper cut, as a number").fill("0.6")
    drop_file(view.get_by_role("button", name="Add a control image"), "cat.png", CONTROL.read_bytes())
    view.get_by_label("Preprocessor of ControlNet 1").select_option("invert")
    view.get_by_label("Weight of ControlNet 1, as a number").fill("0.8")
    view.get_by_label("To of ControlNet 1, as a number").fill("0.5")
    drop_file(view.get_by_role("button", name="Image optional"), "start.png", image_file())
    view.get_by_label("Strength: how much is generated anew, as a number").fill("0.7")
    drop_file(view.get_by_role("button", name="Mask optional"), "mask.png", image_file())
    view.get_by_label("File format").select_option("webp")
    view.get_by_label("Quality").fill("80")
    view.get_by_label("Priority").select_option("batch")
    _, sent = submit(view)
    data = "data:image/png;base64,"
    assert sent == {
        "prompt": "a red apple",
        "negative_prompt": "blurry",
        "width": 128,
        "height": 64,
        "num_images": 2,
        "num_inference_steps": 7,
        "guidance_scale": 2.5,
        "seed": 11,
        "scheduler": "euler_a",
        "loras": [{"name": "paper cut", "scale": 0.6}],
        "controlnets": [
            {
                "name": "edge",
                "image": data + base64_of(CONTROL.read_bytes()),
                "preprocessor": "invert",
                "preprocessor_options": {},
                "conditioning_scale": 0.8,
                "guidance_start": 0,
                "guidance_end": 0.5,
            }
        ],
        "image": data + base64_of(image_file()),
        "mask_image": data + base64_of(image_file()),
        "strength": 0.7,
        "output_format": "webp",
        "output_quality": 80,
        "priority": "batch",
    }


def test_an_image_is_picked_with_the_keyboard(view: Page) -> None:
    button = view.get_by_role("button", name="Add a control image")
    button.focus()
    with view.expect_file_chooser() as chooser:
        button.press("Enter")
    chooser.value.set_files(CONTROL)
    expect(view.locator("p", has_text="Control image 1")).to_be_visible()
    view.get_by_role("button", name="Remove Control image 1").press("Enter")
    expect(view.locator("p", has_text="Control image 1")).to_have_count(0)


def test_the_map_of_a_preprocessor_is_shown_before_a_job_is_submitted(view: Page) -> None:
    asked: list[dict[str, Any]] = []

    def on_request(sent: Request) -> None:
        if sent.url.endswith("/v1/controlnets/preprocess"):
            asked.append(sent.post_data_json)

    view.on("request", on_request)
    drop_file(view.get_by_role("button", name="Add a control image"), "cat.png", CONTROL.read_bytes())
    expect(view.get_by_role("img", name="Control map 1")).to_have_count(0)
    view.get_by_label("Preprocessor of ControlNet 1").select_option("canny")
    expect(view.get_by_role("img", name="Control map 1: canny")).to_be_visible()
    with view.expect_response("**/v1/controlnets/preprocess"):
        view.get_by_label("low threshold, as a number").fill("50")
    assert [one["preprocessor_options"] for one in asked] == [{}, {"low_threshold": 50}]
    assert asked[0]["image"] == "data:image/png;base64," + base64_of(CONTROL.read_bytes())
    assert (asked[0]["width"], asked[0]["height"]) == (64, 64)


def test_an_api_that_makes_no_maps_stops_nobody(view: Page, allowed_statuses: set[int]) -> None:
    allowed_statuses.add(404)
    view.route("**/v1/controlnets/preprocess", lambda route: route.fulfill(status=404, json={}))
    drop_file(view.get_by_role("button", name="Add a control image"), "cat.png", CONTROL.read_bytes())
    with view.expect_response("**/v1/controlnets/preprocess"):
        view.get_by_label("Preprocessor of ControlNet 1").select_option("canny")
    expect(view.locator(".control-map")).to_have_count(0)
    submit(view)


def test_when_a_job_would_be_done_is_shown_while_one_types(view: Page) -> None:
    expect(view.get_by_role("button", name="Generate", exact=True)).to_be_disabled()
    view.get_by_label("Prompt", exact=True).fill("a cat")
    expect(view.locator(".submit-text")).to_contain_text("Done in about")


def test_what_the_api_refuses_is_said_beside_its_field(view: Page, allowed_statuses: set[int]) -> None:
    allowed_statuses.add(422)
    view.get_by_label("Prompt", exact=True).fill("a cat")
    view.get_by_label("Steps", exact=True).fill("0")
    steps = view.get_by_label("Steps", exact=True)
    expect(steps).to_have_attribute("aria-invalid", "true")
    described = steps.get_attribute("aria-describedby") or ""
    expect(view.locator(f"[id='{described}']")).to_contain_text("greater than or equal to 1")
    steps.fill("5")
    expect(steps).not_to_have_attribute("aria-invalid", "true")


def test_a_broken_image_is_refused_where_it_was_dropped(view: Page, allowed_statuses: set[int]) -> None:
    allowed_statuses.add(422)
    view.get_by_label("Prompt", exact=True).fill("a cat")
    drop_file(view.get_by_role("button", name="Add a control image"), "cat.png", b"no image")
    expect(view.locator(".controlnet .file-drop .field-error")).to_be_visible()


def test_ctrl_enter_submits(view: Page) -> None:
    view.get_by_label("Prompt", exact=True).fill("a duck")
    view.keyboard.press("Control+Enter")
    expect(view.locator("[data-job]")).to_contain_text("a duck")


def test_a_job_is_watched_from_its_first_preview_to_its_image(
    view: Page, services: Services, assert_accessible: Callable[[Page], None]
) -> None:
    card, _ = submit(view)
    expect(card.get_by_text("queued", exact=True)).to_be_visible()
    attempt = claim(services, card)
    expect(card.get_by_text("running", exact=True)).to_be_visible()
    for step in (1, 2):
        attempt.preview(base64_of(image_file((8, 8))), step)
        attempt.advance(step, 5)
        expect(card.get_by_text(f"{step} of 5 steps")).to_be_visible()
    expect(card.get_by_role("img", name="Preview after step 2")).to_be_visible()
    expect(card.get_by_role("progressbar")).to_have_attribute("value", "2")
    assert_accessible(view)
    services.images.put("images/x.png", image_file(), content_type="image/png")
    succeed(attempt, [StoredImage(key="images/x.png", seed=7, width=64, height=64, sha256="a" * 64)])
    image = card.get_by_role("img", name="Image 1 of 1: a red apple")
    expect(image).to_be_visible()
    expect(image).to_have_js_property("naturalWidth", 64)
    card.get_by_role("button", name="Use seed 7").click()
    expect(view.get_by_label("Seed", exact=True)).to_have_value("7")
    # What was submitted here is shown again when the page is loaded anew
    view.reload()
    expect(image).to_be_visible()
    card.get_by_role("link", name="Details").click()
    expect(view).to_have_url(f"{view.url.partition('#')[0]}#/job/{attempt.job.id}")


def test_an_older_answer_does_not_bring_an_ended_job_back(
    view: Page, api_only: str, services: Services
) -> None:
    # Given an answer about the new job that takes longer than the job
    card, _ = submit(view)
    job_id = card.get_attribute("data-job")
    queued = requests.get(f"{api_only}/v1/jobs/{job_id}", timeout=60).json()
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    with view.expect_request(f"**/v1/jobs/{job_id}"):
        view.route(f"**/v1/jobs/{job_id}", hold_first)
        attempt = claim(services, card)
    services.images.put("images/x.png", image_file(), content_type="image/png")
    succeed(attempt, [StoredImage(key="images/x.png", seed=7, width=64, height=64, sha256="a" * 64)])
    expect(card.get_by_role("img", name="Image 1 of 1")).to_be_visible()
    # When it arrives
    with suppress(Error):  # nobody waits for it any more
        held[0].fulfill(json=queued)
    view.evaluate("fetch('v1/session').then((answer) => answer.text())")
    # Then the job is what it is
    assert card.get_attribute("data-status") == "succeeded"


def test_a_job_that_is_deleted_elsewhere_leaves_the_results(view: Page, services: Services) -> None:
    card, _ = submit(view)
    card.get_by_role("button", name="Cancel").click()
    expect(card.get_by_text("cancelled", exact=True)).to_be_visible()
    services.jobs.delete(card.get_attribute("data-job") or "")
    expect(card).to_have_count(0)


def test_a_job_is_cancelled(view: Page, services: Services) -> None:
    card, _ = submit(view)
    card.get_by_role("button", name="Cancel").click()
    expect(card.get_by_text("cancelled", exact=True)).to_be_visible()
    job_id = card.get_attribute("data-job") or ""
    assert services.jobs.get(job_id, tenant="local").status == "cancelled"
    view.get_by_role("button", name="Clear", exact=True).click()
    expect(card).to_have_count(0)


def test_the_form_is_filled_in_from_a_job(view: Page, api_only: str) -> None:
    request = {
        "prompt": "a duck",
        "seed": 5,
        "num_inference_steps": 9,
        "controlnets": [edge(guidance_end=0.5)],
    }
    request["loras"] = [{"name": "anime", "scale": 0.4}]
    job_id = view.request.post(f"{api_only}/v1/jobs", data=request).json()["id"]
    view.goto(f"{api_only}/#/generate?from={job_id}")
    expect(view.get_by_label("Prompt", exact=True)).to_have_value("a duck")
    expect(view.get_by_label("anime, as a number")).to_have_value("0.4")
    _, sent = submit(view, "a swan")
    assert (sent["seed"], sent["num_inference_steps"]) == (5, 9)
    assert sent["controlnets"][0]["image"].startswith("sha256:")
    assert sent["controlnets"][0]["guidance_end"] == 0.5


def test_fields_without_a_control_are_carried_along_from_a_job(
    view: Page, api_only: str, services: Services, assert_accessible: Callable[[Page], None]
) -> None:
    request = {
        "prompt": "a duck",
        "seeds": [2**63 - 25, 3],
        "clip_skip": 1,
        "guess_mode": True,
        "guidance_rescale": 0.25,
        "eta": 0.5,
        "scheduler": "ddim",
        "long_prompt": "chunk",
        "lora_loading": {"mode": "exact"},
        "priority": "batch",
        "loras": [{"name": "anime", "scale": {"unet": 0.5}}],
        "controlnets": [edge(guidance_end=0.5, preprocessor="canny")],
    }
    answer = view.request.post(f"{api_only}/v1/jobs", data=request)
    assert answer.ok, answer.text()
    job_id = answer.json()["id"]
    view.goto(f"{api_only}/#/generate?from={job_id}")
    carried = view.get_by_text("Also from the job: ")
    expect(carried).to_contain_text("clip_skip 1")
    expect(carried).to_contain_text(f"seeds [{2**63 - 25},3]")
    assert_accessible(view)
    card, _ = submit(view, "a duck")
    again = services.jobs.get(card.get_attribute("data-job") or "")
    assert again.spec == services.jobs.get(job_id).spec
    assert again.priority == "batch"
    # A field of the form replaces what is carried of the same meaning; the rest is dropped together
    view.get_by_label("Seed", exact=True).fill("9")
    expect(carried).not_to_contain_text("seeds")
    view.get_by_role("button", name="Drop these").click()
    expect(carried).to_have_count(0)
    _, sent = submit(view, "a duck")
    assert (sent["seed"], sent["num_images"], sent.get("clip_skip")) == (9, 2, None)


def test_estimates_send_the_data_of_an_image_once(view: Page) -> None:
    is_estimate = "**/v1/jobs?dry_run=1"
    drop_file(view.get_by_role("button", name="Add a control image"), "cat.png", CONTROL.read_bytes())
    drop_file(view.get_by_role("button", name="Image optional"), "start.png", image_file((64, 48)))
    with view.expect_response(is_estimate) as first:
        view.get_by_label("Prompt", exact=True).fill("a cat")
    expect(view.locator(".submit-text")).to_contain_text("Done in about")
    with view.expect_response(is_estimate) as second:
        view.get_by_label("Prompt", exact=True).fill("a cat that sits")
    assert second.value.ok
    before, after = first.value.request.post_data_json, second.value.request.post_data_json
    assert before["image"] == "data:image/png;base64," + base64_of(image_file((64, 48)))
    assert after["image"] not in (before["image"], None)
    assert after["controlnets"][0]["image"] != before["controlnets"][0]["image"]
    with Image.open(io.BytesIO(base64.b64decode(after["image"].partition(",")[2]))) as image:
        assert image.size == (64, 48)
    _, sent = submit(view, "a cat that sits")
    assert (sent["image"], sent["controlnets"]) == (before["image"], before["controlnets"])


def test_when_a_job_will_be_done_comes_nearer(page: Page, api_only: str, services: Services) -> None:
    job_id = add_job(services)
    page.add_init_script(f"sessionStorage.setItem('swiftdiffusion.submitted', '[\"{job_id}\"]')")
    page.goto(api_only)
    waits = page.locator("[data-job] .preview-none")
    expect(waits).to_contain_text("Done in about 1 min")
    expect(waits).not_to_have_text(waits.inner_text())


def test_a_preview_that_comes_slowly_is_shown(view: Page, services: Services) -> None:
    held: list[Route] = []
    view.route("**/preview?*", lambda route: held.append(route))
    with view.expect_request("**/preview?*"):
        card, _ = submit(view)
    attempt = claim(services, card)
    for step in (1, 2):
        attempt.advance(step, 5)
        expect(card.get_by_text(f"{step} of 5 steps")).to_be_visible()
    with view.expect_request("**/preview?step=2"):
        held[0].fulfill(body=image_file((8, 8)), content_type="image/png")
    expect(card.get_by_role("img", name="Preview after step 2")).to_be_visible()
    assert [route.request.url.rpartition("?")[2] for route in held] == ["step=0", "step=2"]


def test_loras_are_found_by_their_names(page: Page, api_only: str, services: Services) -> None:
    for name in [f"style {n:02}" for n in range(12)]:
        services.loras.put(f"{name}.safetensors", lora(), content_type=OCTETS)
    page.goto(api_only)
    expect(page.get_by_text("and 4 more")).to_be_visible()
    page.get_by_label("Search LoRAs").fill("style 11")
    page.get_by_role("button", name="Add LoRA style 11").click()
    expect(page.get_by_label("style 11, as a number")).to_have_value("1")


def test_it_is_accessible_and_fits_a_phone(
    view: Page, services: Services, assert_accessible: Callable[[Page], None], screenshot: Screenshot
) -> None:
    view.get_by_role("button", name="Add LoRA anime").click()
    drop_file(view.get_by_role("button", name="Add a control image"), "cat.png", CONTROL.read_bytes())
    drop_file(view.get_by_role("button", name="Image optional"), "start.png", image_file())
    card, _ = submit(view, "a very long prompt " + "of many words, " * 12)
    attempt = claim(services, card)
    attempt.preview(base64_of(image_file((8, 8))), 1)
    attempt.advance(1, 5)
    expect(card.get_by_role("img", name="Preview")).to_be_visible()
    assert_accessible(view)
    screenshot(view, "generate-form")
