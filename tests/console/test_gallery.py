"""The gallery: finished images, and whether an image is what its receipt gives."""

import io
import time
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page, expect

from api.services import Services
from shared.jobs.receipt import Receipt
from shared.jobs.record import Job
from tests.api.services import announce_workers, receipt_of
from tests.browser import Screenshot, drop_file
from tests.console.jobs import add_job, begin, finished, sample_image, succeed
from workers.unet.output.image_files import encode_image

Check = Callable[[Page], None]


def made(services: Services, **request: Any) -> tuple[bytes, Receipt]:
    """The file of a job that succeeded, and its receipt."""
    job = services.jobs.get(finished(services, **request))
    assert job.receipt is not None
    return services.images.get(job.images[0].key), job.receipt


def drop(page: Page, name: str, data: bytes) -> None:
    drop_file(page.get_by_role("button", name="Drop an image here"), name, data)


def replayed(services: Services) -> Job:
    """The job that the page has submitted."""
    deadline = time.monotonic() + 60
    while not (jobs := services.jobs.page(status="queued")[0]):
        assert time.monotonic() < deadline
    return jobs[0]


def verify(page: Page, services: Services, image: Image.Image | None = None, **more: Any) -> None:
    """Have the page replay the receipt that it shows; a worker generates ``image``."""
    page.get_by_role("button", name="Generate it again and compare").click()
    job = replayed(services)
    attempt = begin(services, job.id, 5)
    assert attempt.job.replays is not None
    succeed(services, attempt, [image] if image else None, receipt=attempt.job.replays, **more)


def test_finished_images_are_shown_newest_first(
    page: Page, api_only: str, services: Services, assert_accessible: Check, screenshot: Screenshot
) -> None:
    for n in range(9):
        finished(services, f"image {n} of something", seeds=[n], width=256, height=192 if n % 3 else 320)
    add_job(services, "not finished")
    page.goto(f"{api_only}/#/gallery")
    tiles = page.locator(".tile")
    expect(tiles).to_have_count(9)
    assert tiles.first.inner_text().startswith("image 8")
    expect(tiles.first.locator("img")).to_have_js_property("complete", True)
    assert (tiles.first.locator("img").get_attribute("src") or "").endswith("/images/0/thumbnail")
    assert_accessible(page)
    screenshot(page, "gallery")
    finished(services, "one more")
    expect(tiles.first).to_contain_text("one more")
    # One that is deleted elsewhere leaves
    services.jobs.delete(services.jobs.page(status="succeeded")[0][1].id)
    expect(tiles).to_have_count(9)
    assert tiles.nth(1).inner_text().startswith("image 7")
    tiles.first.get_by_role("link", name="Open the job").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Job")


def test_older_images_come_while_one_scrolls_and_those_out_of_sight_are_given_back(
    page: Page, api_only: str, services: Services
) -> None:
    for n in range(95):
        finished(services, f"image {n}", width=64, height=64)
    page.goto(f"{api_only}/#/gallery")
    expect(page.locator(".tile").first).to_contain_text("image 94")
    tiles, images = page.locator(".tile"), page.locator(".tile img")
    expect(tiles).to_have_count(40)
    for count in (80, 95):
        tiles.last.scroll_into_view_if_needed()
        expect(tiles).to_have_count(count)
    page.get_by_text("image 0", exact=True).scroll_into_view_if_needed()
    expect(page.locator(".tile").last.locator("img")).to_be_attached()
    expect(page.locator(".tile").first.locator("img")).to_have_count(0)
    assert images.count() < 80
    expect(page.get_by_role("button", name="Show older images")).to_have_count(0)


def test_an_empty_gallery_says_what_to_do(
    page: Page, api_only: str, services: Services, assert_accessible: Check, screenshot: Screenshot
) -> None:
    page.goto(f"{api_only}/#/gallery")
    expect(page.get_by_text("No images yet")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "gallery-empty")


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_an_image_that_is_generated_again_is_equal(
    output_format: str,
    page: Page,
    api_only: str,
    services: Services,
    assert_accessible: Check,
    screenshot: Screenshot,
) -> None:
    announce_workers(services)
    data, _ = made(services, prompt="a cat, it's “here”", width=256, height=256, output_format=output_format)
    page.goto(f"{api_only}/#/gallery")
    drop(page, f"cat.{output_format}", data)
    expect(page.get_by_text("a cat, it's “here”").first).to_be_visible()
    expect(page.get_by_text(f"256 × 256, {output_format.upper()}, image 1 of its job")).to_be_visible()
    assert_accessible(page)
    verify(page, services, warnings=["torch is 2.9.1 here, and was 2.8.0"])
    expect(page.get_by_text("Equal", exact=True)).to_be_visible()
    expect(page.get_by_text("The file is the same, byte for byte.")).to_be_visible()
    expect(page.get_by_text("torch is 2.9.1 here, and was 2.8.0")).to_be_visible()
    assert_accessible(page)
    screenshot(page, f"gallery-verify-{output_format}")


def test_an_image_that_was_changed_is_shown_where_it_differs(
    page: Page, api_only: str, services: Services, assert_accessible: Check, screenshot: Screenshot
) -> None:
    announce_workers(services)
    _, receipt = made(services, width=256, height=256)
    changed = sample_image(7, (256, 256))
    changed.paste((250, 240, 60), (40, 60, 90, 92))
    page.goto(f"{api_only}/#/gallery")
    drop(page, "changed.png", encode_image(changed, receipt, 0))
    verify(page, services)
    expect(page.get_by_text("Different", exact=True)).to_be_visible()
    share = 50 * 32 / 256**2
    expect(page.get_by_text(f"{share:.1%}".replace("%", " %"))).to_be_visible()
    difference = page.get_by_role("img", name="Difference of the two images")
    pixel = "canvas => [...canvas.getContext('2d').getImageData({}, 1, 1).data]"
    assert difference.evaluate(pixel.format("10, 10")) == [0, 0, 0, 255]
    assert difference.evaluate(pixel.format("60, 70"))[0] > 80
    assert_accessible(page)
    screenshot(page, "gallery-verify-different")


def test_the_same_pixels_in_another_file_are_equal(page: Page, api_only: str, services: Services) -> None:
    announce_workers(services)
    data, receipt = made(services)
    # As another program saves it: compressed text chunks
    info = PngInfo()
    info.add_text("receipt", receipt.model_dump_json(exclude={"encoder"}), zip=True)
    info.add_itxt("index", "0", zip=True)
    file = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(file, "PNG", pnginfo=info)
    page.goto(f"{api_only}/#/gallery")
    drop(page, "saved.png", file.getvalue())
    verify(page, services)
    expect(page.get_by_text("All 64 × 64 pixels are the same; the file around them is not.")).to_be_visible()


def test_a_receipt_longer_than_a_segment_of_a_jpeg_is_read(
    page: Page, api_only: str, services: Services
) -> None:
    announce_workers(services)
    long = {"prompt": "é" * 9_000, "negative_prompt": "ö" * 9_000, "seeds": [2**63 - 1 - n for n in range(3)]}
    data, _ = made(services, output_format="jpeg", **long)
    assert b"http://ns.adobe.com/xmp/extension/" in data
    page.goto(f"{api_only}/#/gallery")
    drop(page, "long.jpeg", data)
    expect(page.get_by_text(f"[{2**63 - 1},{2**63 - 2},{2**63 - 3}]")).to_be_visible()
    verify(page, services)
    expect(page.get_by_text("The file is the same, byte for byte.")).to_be_visible()
    # A file that lost a part of it is not taken for whole
    drop(page, "cut.jpeg", data.replace(b"/xmp/extension/", b"/xmp/somewhere/", 1))
    expect(page.get_by_text("a part of its metadata is missing")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("text", "the file is no PNG, JPEG or WebP"),
        ("png", "the image carries no receipt"),
        ("jpeg", "the image carries no receipt"),
        ("webp", "the image carries no receipt"),
        ("json", "the image's receipt is no JSON"),
        ("list", "the image's receipt is no JSON object"),
        ("index", "the image's index within its job is no number"),
        ("cut", "the image carries no receipt"),
        ("xml", "the image carries no receipt"),
    ],
)
def test_a_file_that_cannot_be_verified_says_why(
    name: str, says: str, page: Page, api_only: str, services: Services
) -> None:
    page.goto(f"{api_only}/#/gallery")
    drop(page, name, broken(name))
    expect(page.get_by_role("alert")).to_contain_text(says)
    expect(page.get_by_role("button", name="Generate it again and compare")).to_have_count(0)


def broken(name: str) -> bytes:
    file, image = io.BytesIO(), sample_image(1, (64, 64))
    if name == "text":
        return b"no image at all"
    if name in ("png", "jpeg", "webp"):
        image.save(file, name)
        return file.getvalue()
    if name == "xml":
        image.save(file, "WEBP", xmp=b"<a><b></a>")
        return file.getvalue()
    info = PngInfo()
    info.add_itxt("receipt", {"json": "{", "list": "[1]"}.get(name, "{}"))
    info.add_itxt("index", "first")
    image.save(file, "PNG", pnginfo=info)
    return file.getvalue()[: 40 if name == "cut" else None]


def test_a_receipt_that_the_fleet_refuses_is_said(
    page: Page,
    api_only: str,
    services: Services,
    allowed_statuses: set[int],
    assert_accessible: Check,
    screenshot: Screenshot,
) -> None:
    allowed_statuses.add(422)
    announce_workers(services)
    job = services.jobs.get(finished(services))
    edited = receipt_of(job.spec).model_copy(update={"model_sha256": "9" * 64})
    page.goto(f"{api_only}/#/gallery")
    drop(page, "edited.png", encode_image(sample_image(7, (64, 64)), edited, 0))
    page.get_by_role("button", name="Generate it again and compare").click()
    expect(page.get_by_role("alert")).to_contain_text("The fleet refused the receipt")
    assert_accessible(page)
    screenshot(page, "gallery-verify-refused")


def test_an_image_of_the_gallery_is_taken_by_its_link(page: Page, api_only: str, services: Services) -> None:
    finished(services, "mine", num_images=2)
    page.goto(f"{api_only}/#/gallery")
    page.locator(".tile").nth(1).get_by_role("link", name="Verify").click()
    expect(page.get_by_text("PNG, image 2 of its job")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_text("PNG, image 2 of its job")).to_have_count(0)
    assert page.url == f"{api_only}/#/gallery"


def test_same_again_in_the_gallery_submits_the_receipt(page: Page, api_only: str, services: Services) -> None:
    announce_workers(services)
    job = services.jobs.get(finished(services, "mine", clip_skip=1, guidance_rescale=0.5))
    page.goto(f"{api_only}/#/gallery")
    link = page.locator(".tile").get_by_role("link", name="Edit")
    expect(link).to_have_attribute("href", f"#/generate?from={job.id}")
    page.locator(".tile").get_by_role("button", name="Same again").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Job")
    again = replayed(services)
    assert page.url == f"{api_only}/#/job/{again.id}"
    assert again.replays == job.receipt


def test_that_older_images_could_not_be_read_is_shown(
    page: Page, api_only: str, services: Services, allowed_statuses: set[int]
) -> None:
    allowed_statuses.add(503)
    for n in range(45):
        finished(services, f"image {n}", width=64, height=64)
    problem = {"detail": "the control Redis is gone"}
    page.route("**/v1/jobs?*cursor=*", lambda route: route.fulfill(status=503, json=problem))
    page.goto(f"{api_only}/#/gallery")
    page.locator(".tile").last.scroll_into_view_if_needed()
    expect(page.get_by_role("alert")).to_have_text("the control Redis is gone")
    expect(page.locator(".tile")).to_have_count(40)
    page.unroute("**/v1/jobs?*cursor=*")
    page.get_by_role("button", name="Show older images").click()
    expect(page.locator(".tile")).to_have_count(45)
    expect(page.get_by_role("alert")).to_have_count(0)
