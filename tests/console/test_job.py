"""One job: images, timeline, receipt, request, and what can be done with it."""

import io
import json
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import requests
from PIL import Image
from playwright.sync_api import Error, Page, Route, expect

from api.services import Services
from shared import keys
from tests.api.services import OCTETS, announce_workers, base64_of, edge, image_file, lora
from tests.browser import Screenshot
from tests.console.jobs import STEPS, add_job, begin, failed, finished, sample_image, succeed

Check = Callable[[Page], None]
#: More digits than a number of JavaScript keeps.
LARGE_SEED = 2**63 - 25


def put_lora(services: Services, name: str) -> None:
    services.loras.put(f"{name}.safetensors", lora(), content_type=OCTETS)


def png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64_of(file.getvalue())


def test_a_finished_job_shows_everything_about_it(
    page: Page, api_only: str, services: Services, assert_accessible: Check, screenshot: Screenshot
) -> None:
    put_lora(services, "outline")
    job_id = add_job(
        services,
        "a penguin on a teal background, flat colours, thick outlines",
        negative_prompt="photo",
        controlnets=[edge(conditioning_scale=0.8, preprocessor="canny", guidance_end=0.55)],
        loras=[{"name": "outline", "scale": 0.9}],
        num_images=3,
        width=256,
        height=256,
    )
    warning = "the ControlNet was computed on another platform"
    succeed(services, begin(services, job_id, 12), warnings=[warning])
    page.goto(f"{api_only}/#/job/{job_id}")
    expect(page.get_by_role("heading", level=1, name=f"Job {job_id}")).to_be_visible()
    expect(page.get_by_text(warning)).to_be_visible()
    expect(page.get_by_role("img", name="Control image of edge")).to_be_visible()
    expect(page.get_by_text("edge × 0.8", exact=True)).to_be_visible()
    expect(page.get_by_text("scale 0.8, from 0 % to 55 % of the steps")).to_be_visible()
    expect(page.get_by_role("region", name="Receipt")).to_contain_text('"model_sha256"')
    expect(page.get_by_role("link", name="Edit")).to_have_attribute("href", f"#/generate?from={job_id}")
    expect(page.get_by_role("link", name="Verify")).to_have_attribute("href", f"#/gallery?verify={job_id}-0")
    assert_accessible(page)
    screenshot(page, "job")


def test_images_are_turned_over_and_downloaded(page: Page, api_only: str, services: Services) -> None:
    job_id = finished(services, num_images=3, output_format="webp")
    page.goto(f"{api_only}/#/job/{job_id}")
    shown = page.get_by_role("img", name="Generated image")
    expect(shown).to_have_attribute("src", f"v1/jobs/{job_id}/images/0")
    page.keyboard.press("ArrowLeft")
    expect(shown).to_have_attribute("src", f"v1/jobs/{job_id}/images/2")
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Next image").click()
    expect(page.get_by_text("Image 2 of 3")).to_be_visible()
    page.get_by_role("button", name="Show image 3").click()
    with page.expect_download() as one:
        page.get_by_role("link", name="Download", exact=True).click()
    assert one.value.suggested_filename == f"{job_id}-2.webp"
    stored = services.images.get(services.jobs.get(job_id).images[2].key)
    assert Path(one.value.path()).read_bytes() == stored
    with page.expect_download() as archive:
        page.get_by_role("link", name="All as zip").click()
    assert archive.value.suggested_filename == f"{job_id}.zip"


def test_a_job_is_followed_from_the_queue_to_its_image(
    page: Page, api_only: str, services: Services, assert_accessible: Check, screenshot: Screenshot
) -> None:
    job_id = add_job(services, width=256, height=256)
    page.goto(f"{api_only}/#/job/{job_id}")
    expect(page.get_by_text("Waiting at place 1 of your queue")).to_be_visible()
    expect(page.get_by_text("s left.")).to_be_visible()
    # A clock is not read out each second
    expect(page.locator("[aria-live]").filter(has_text="left")).to_have_count(0)
    assert_accessible(page)
    screenshot(page, "job-queued")
    attempt = begin(services, job_id, 2)
    attempt.preview(png(sample_image(7, (32, 32))), 2)
    attempt.advance(4, 12)
    expect(page.get_by_text("Step 4 of 12")).to_be_visible()
    expect(page.get_by_role("img", name="Preview after step 4")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "4")
    assert_accessible(page)
    screenshot(page, "job-running")
    succeed(services, attempt)
    expect(page.get_by_role("img", name="Generated image 1 of 1")).to_be_visible()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()


def test_the_timeline_has_a_lane_for_each_worker_controlnet_and_lora(
    page: Page, api_only: str, services: Services, screenshot: Screenshot, assert_accessible: Check
) -> None:
    put_lora(services, "outline")
    job_id = finished(services, controlnets=[edge()], loras=[{"name": "outline"}])
    page.goto(f"{api_only}/#/job/{job_id}")
    lanes = page.locator(".chart-lanes p")
    expect(lanes).to_have_text(["queue", "unet1", "waits", "lora outline", "controlnet1 · edge"])
    bars = page.locator(".bar")
    assert bars.count() == len(requests.get(f"{api_only}/v1/jobs/{job_id}", timeout=60).json()["timeline"])
    # One bar is in the tab order; the arrow keys move
    assert page.locator(".bar[tabindex='0']").count() == 1
    page.get_by_role("img", name="queued on queue").focus()
    page.keyboard.press("ArrowDown")
    focused = page.locator(".bar:focus")
    expect(focused).to_have_attribute("aria-label", "model on unet1: 0.420 s to 0.610 s, 190 ms")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".timeline-shown")).to_contain_text("prompt on unet1: 0.610 s to 0.700 s, 90.0 ms")
    page.get_by_role("img", name="lora outline from s3").hover()
    expect(page.locator(".timeline-shown")).to_contain_text("fetched bytes")
    page.get_by_role("img", name="wait for residuals").first.hover()
    expect(page.locator(".timeline-shown")).to_contain_text("20.0 ms, residual 0 of its step")
    legend = page.get_by_role("list", name="Legend: time by kind")
    expect(legend).to_contain_text(f"in {STEPS}, {STEPS // 2} for a step's first residual")
    # Zoomed, the box scrolls, and the page does not
    scroll = page.locator(".chart-scroll")
    assert scroll.evaluate("box => box.scrollWidth <= box.clientWidth")
    for _ in range(3):
        page.get_by_role("button", name="Zoom in").click()
    assert scroll.evaluate("box => box.scrollWidth > 7 * box.clientWidth")
    page.locator(".timeline").scroll_into_view_if_needed()
    screenshot(page, "job-timeline-zoomed")
    page.get_by_role("button", name="Fit").click()
    assert scroll.evaluate("box => box.scrollWidth <= box.clientWidth")
    page.get_by_text("The same as a table").click()
    table = page.get_by_role("table", name="Spans of the timeline")
    expect(table.get_by_role("row", name="lora outline parse")).to_contain_text("80.0 ms")
    assert_accessible(page)
    page.locator(".timeline").scroll_into_view_if_needed()
    screenshot(page, "job-timeline-table")


def test_a_receipt_keeps_every_digit_and_is_accepted_again(
    page: Page, api_only: str, services: Services
) -> None:
    announce_workers(services)
    job_id = add_job(services, seeds=[LARGE_SEED])
    succeed(services, begin(services, job_id))
    receipt = requests.get(f"{api_only}/v1/jobs/{job_id}", timeout=60).json()["receipt"]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{api_only}/#/job/{job_id}")
    panel = page.locator("section", has=page.get_by_role("heading", name="Receipt"))
    panel.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert json.loads(page.evaluate("navigator.clipboard.readText()")) == receipt
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").click()
    assert json.loads(Path(saved.value.path()).read_text()) == receipt
    page.get_by_role("button", name="Same again").click()
    expect(page.get_by_text("Waiting at place")).to_be_visible()
    again = page.url.rpartition("/")[2]
    assert again != job_id
    assert services.jobs.get(again).spec.seeds == [LARGE_SEED]
    assert services.jobs.get(again).replays == services.jobs.get(job_id).receipt


def test_a_job_without_a_receipt_is_submitted_again_by_its_request(
    page: Page, api_only: str, services: Services
) -> None:
    job_id = add_job(services, seeds=[LARGE_SEED, 3], clip_skip=1)
    page.goto(f"{api_only}/#/job/{job_id}")
    page.get_by_role("button", name="Same again").click()
    expect(page.get_by_role("heading", level=1)).not_to_contain_text(job_id)
    expect(page.get_by_text("Waiting at place 2")).to_be_visible()
    assert services.jobs.get(page.url.rpartition("/")[2]).spec == services.jobs.get(job_id).spec


def test_the_request_runs_in_a_shell_and_gives_the_same_job(
    page: Page, api_only: str, services: Services, tmp_path: Path
) -> None:
    put_lora(services, "outline")
    prompt = """it's a "cat" `touch a` $(touch b) $HOME \\ 100 % !\nsecond line é"""
    job_id = finished(
        services,
        prompt,
        negative_prompt="'",
        image=base64_of(image_file()),
        strength=0.7,
        controlnets=[edge(preprocessor="canny", guidance_end=0.5)],
        loras=[{"name": "outline", "scale": {"unet": 0.8, "text_encoder": 0.5}}],
        lora_loading={"mode": "exact"},
        seeds=[LARGE_SEED, 3],
    )
    page.goto(f"{api_only}/#/job/{job_id}")
    command = page.get_by_role("region", name="curl command").inner_text()
    script = f"curl() {{ printf '%s\\0' \"$@\"; }}\n{command}"
    ran = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert list(tmp_path.iterdir()) == []
    arguments = ran.stdout.split("\0")
    assert f"{api_only}/v1/jobs" in arguments
    body = arguments[arguments.index("--data-binary") + 1]
    json_type = {"Content-Type": "application/json"}
    answer = requests.post(f"{api_only}/v1/jobs", data=body.encode(), headers=json_type, timeout=60)
    assert answer.status_code == 202, answer.text
    assert services.jobs.get(answer.json()["id"]).spec == services.jobs.get(job_id).spec
    assert len(body) < 1500  # images are named by their hash


def test_a_failed_job_says_why(
    page: Page, api_only: str, services: Services, assert_accessible: Check, screenshot: Screenshot
) -> None:
    job_id = failed(services)
    page.goto(f"{api_only}/#/job/{job_id}")
    expect(page.get_by_text("lora_gone")).to_be_visible()
    expect(page.get_by_text("was overwritten or deleted after the job was accepted")).to_be_visible()
    expect(page.get_by_text("The job has failed before it had one.")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "job-failed")


def test_a_job_is_cancelled_and_then_deleted(page: Page, api_only: str, services: Services) -> None:
    job_id = add_job(services)
    page.goto(f"{api_only}/#/job/{job_id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("The job was cancelled before it had one.")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog", name="Delete this job?").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("The job is deleted.")).to_be_visible()
    assert page.url == f"{api_only}/#/gallery"
    assert services.jobs.owned([job_id], "local") == set()


def test_an_older_answer_does_not_bring_an_ended_job_back(
    page: Page, api_only: str, services: Services
) -> None:
    job_id = add_job(services)
    page.goto(f"{api_only}/#/job/{job_id}")
    expect(page.get_by_text("Waiting at place 1 of your queue")).to_be_visible()
    # Given an answer that is on its way for so long that the job ends meanwhile
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    queued = requests.get(f"{api_only}/v1/jobs/{job_id}", timeout=60).json()
    with page.expect_request(f"**/v1/jobs/{job_id}"):
        page.route(f"**/v1/jobs/{job_id}", hold_first)
        attempt = begin(services, job_id, 2)
    succeed(services, attempt)
    expect(page.get_by_role("img", name="Generated image 1 of 1")).to_be_visible()
    # When it arrives
    with suppress(Error):  # nobody waits for it any more
        held[0].fulfill(json=queued)
    page.evaluate("fetch('v1/session').then((answer) => answer.text())")
    # Then the job is what it is
    assert page.get_by_role("img", name="Generated image 1 of 1").is_visible()


def test_a_job_that_is_deleted_elsewhere_is_shown_as_gone(
    page: Page, api_only: str, services: Services
) -> None:
    job_id = finished(services)
    page.goto(f"{api_only}/#/job/{job_id}")
    expect(page.get_by_role("img", name="Generated image 1 of 1")).to_be_visible()
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
    services.jobs.delete(job_id)
    expect(page.get_by_text("There is no such job")).to_be_visible()


def test_deliveries_are_asked_for_only_where_a_job_has_a_webhook(
    page: Page, api_only: str, services: Services
) -> None:
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url))
    page.goto(f"{api_only}/#/job/{finished(services)}")
    expect(page.get_by_role("img", name="Generated image 1 of 1")).to_be_visible()
    assert [url for url in asked if "/v1/webhooks" in url] == []
    with_webhook = add_job(services)
    services.control.hset(keys.job(with_webhook), "webhook", '{"url": "https://example.com/hooks"}')
    with page.expect_response("**/v1/webhooks/default/deliveries*"):
        page.goto(f"{api_only}/#/job/{with_webhook}")


def test_a_job_that_is_not_there_says_so(
    page: Page, api_only: str, services: Services, allowed_statuses: set[int], assert_accessible: Check
) -> None:
    allowed_statuses.add(404)
    page.goto(f"{api_only}/#/job/0123456789abcdef")
    expect(page.get_by_text("There is no such job")).to_be_visible()
    assert_accessible(page)
