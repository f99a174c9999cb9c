"""The LoRA view: the list, where each is cached, uploads, deletion."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from api.services import Services
from shared.registry.lora_inventory import LoraInventory, publish_disk_cache, publish_inventory
from shared.registry.workers import publish_heartbeat
from shared.storage.loras import lora_key, own_max_async_steps, version_of
from tests.api.api_keys import BOOTSTRAP_KEY
from tests.api.services import OCTETS, heartbeat, lora, safetensors
from tests.api.tenants import add_tenant
from tests.browser import Screenshot, drop_file
from tests.console.logins import log_in, make_key

TTL_S = 300
#: Its upload takes long enough to be watched.
LARGE = safetensors({"unet.down_blocks.0.attentions.0.to_q.lora_A.weight": [64, 4096]})


def put(services: Services, name: str, data: bytes, tenant: str = "local") -> None:
    services.loras.put(lora_key(name, tenant), data, content_type=OCTETS)


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("table", name="LoRAs").get_by_role("row").filter(has_text=name)


def pick(page: Page, tmp_path: Path, **files: bytes) -> None:
    """Choose files with the button of the view."""
    for name, data in files.items():
        (tmp_path / f"{name}.safetensors").write_bytes(data)
    paths = [tmp_path / f"{name}.safetensors" for name in files]
    page.locator("input[type=file]").set_input_files(paths)


@contextmanager
def slowed_down(page: Page, bytes_per_s: int) -> Iterator[None]:
    """Have the browser send no faster than this; afterwards the rest goes at once."""
    network = page.context.new_cdp_session(page)
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1}
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": bytes_per_s})
    yield
    network.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": -1})


def test_a_dropped_file_is_uploaded_with_progress_and_is_in_the_bucket(
    page: Page,
    api_only: str,
    services: Services,
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    page.goto(f"{api_only}/#/loras")
    expect(page.get_by_text("There are no LoRAs yet")).to_be_visible()
    drop_file(page.locator(".file-drop"), "flat.safetensors", LARGE, OCTETS)
    page.get_by_label("Name", exact=True).fill("flat style")
    page.get_by_label("Steps without it, at most").fill("3")
    assert_accessible(page)
    screenshot(page, "loras-upload-ready")
    with slowed_down(page, 70_000):
        page.get_by_role("button", name="Upload flat.safetensors").click()
        progress = page.get_by_role("progressbar", name="Upload of flat.safetensors")
        expect(progress).to_have_attribute("value", re.compile("[1-9]"))
        assert_accessible(page)
    expect(page.get_by_text("It is the LoRA flat style now.")).to_be_visible()
    expect(row(page, "flat style")).to_contain_text("1.0 MB")
    stored = services.loras.head("flat style.safetensors")
    assert (stored.size_bytes, own_max_async_steps(stored)) == (len(LARGE), 3)
    screenshot(page, "loras-uploaded")


def test_several_files_are_uploaded_at_once(
    page: Page, api_only: str, services: Services, tmp_path: Path
) -> None:
    page.goto(f"{api_only}/#/loras")
    pick(page, tmp_path, anime=lora(), paper=lora(rank=8), ink=lora(rank=2))
    page.get_by_role("button", name="Upload 3 files").click()
    for name in ("anime", "paper", "ink"):
        expect(row(page, name)).to_be_visible()
        assert services.loras.exists(f"{name}.safetensors")


def test_an_upload_that_is_cancelled_leaves_nothing(
    page: Page, api_only: str, services: Services, tmp_path: Path
) -> None:
    page.goto(f"{api_only}/#/loras")
    pick(page, tmp_path, flat=LARGE)
    with slowed_down(page, 20_000):
        page.get_by_role("button", name="Upload flat.safetensors").click()
        page.get_by_role("button", name="Cancel flat.safetensors").click()
        expect(page.get_by_text("cancelled")).to_be_visible()
    assert [stat.key for stat in services.loras.list() if stat.key.startswith("flat")] == []
    page.get_by_role("button", name="Remove flat.safetensors from the list").click()
    expect(page.get_by_text("flat.safetensors")).to_have_count(0)


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"hello, world: no tensors", "broken", "not a safetensors file"),
        (lora(), "bad*name", "cannot be part of a name"),
        (lora(), "folder/name", "a name has no slash"),
    ],
    ids=["no LoRA", "no name", "a path"],
)
def test_a_refused_file_shows_the_reason_of_the_api(
    data: bytes,
    name: str,
    reason: str,
    page: Page,
    api_only: str,
    services: Services,
    tmp_path: Path,
    allowed_statuses: set[int],
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    allowed_statuses.add(422)
    page.goto(f"{api_only}/#/loras")
    pick(page, tmp_path, broken=data)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Upload broken.safetensors").click()
    expect(page.locator(".field-error")).to_contain_text(reason)
    expect(page.get_by_text("refused", exact=True)).to_be_visible()
    assert_accessible(page)
    screenshot(page, "loras-refused")
    # Then it may be tried again, by another name
    expect(page.get_by_role("button", name="Upload broken.safetensors")).to_have_text("Try again")
    assert list(services.loras.list()) == []


def test_a_file_that_replaces_another_is_confirmed_first(
    page: Page, api_only: str, services: Services, tmp_path: Path
) -> None:
    put(services, "anime", lora())
    page.goto(f"{api_only}/#/loras")
    expect(row(page, "anime")).to_be_visible()
    pick(page, tmp_path, anime=lora(rank=8))
    expect(page.get_by_text("replaces the LoRA of this name")).to_be_visible()
    page.get_by_role("button", name="Upload anime.safetensors").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    assert services.loras.head("anime.safetensors").size_bytes == len(lora())
    page.get_by_role("button", name="Upload anime.safetensors").click()
    page.get_by_role("dialog").get_by_role("button", name="Replace").click()
    expect(page.get_by_text("It is the LoRA anime now.")).to_be_visible()
    assert services.loras.head("anime.safetensors").size_bytes == len(lora(rank=8))


def test_the_list_says_where_each_lora_is_cached(
    page: Page,
    api_only: str,
    services: Services,
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    put(services, "anime", lora())
    put(services, "paper", lora(rank=8))
    version = version_of(services.loras.name, "anime", services.loras.head("anime.safetensors").etag)
    publish_heartbeat(services.control, heartbeat("unet-1", "unet", "emoji-sd", []), TTL_S)
    held = f"emoji-sd@{version}"
    inventory = LoraInventory(
        worker="unet-1", host="here", serves=["emoji-sd"], loaded=[], patched=[held], memory=[held]
    )
    publish_inventory(services.control, inventory, TTL_S)
    publish_disk_cache(services.control, "here", [version], TTL_S)
    page.goto(f"{api_only}/#/loras")
    tags = row(page, "anime").get_by_role("list", name="Where anime is cached").get_by_role("listitem")
    expect(tags).to_have_text(["in weights of unet-1", "in memory of unet-1", "on disk of here"])
    expect(row(page, "paper")).to_contain_text("in S3 only")
    expect(row(page, "paper").get_by_role("cell").nth(2)).to_have_text(
        "8"
    )  # its header was read for the list
    assert_accessible(page)
    screenshot(page, "loras")
    page.get_by_role("button", name="anime", exact=True).click()
    details = page.get_by_role("dialog", name="anime")
    expect(details).to_contain_text("unet")
    assert_accessible(page)
    screenshot(page, "lora-details")


def test_objects_that_cannot_be_used_say_why(page: Page, api_only: str, services: Services) -> None:
    services.loras.put("notes.txt", b"hello", content_type=OCTETS)
    put(services, "broken", b"hello, world: no tensors")
    page.goto(f"{api_only}/#/loras")
    unusable = page.get_by_role("table", name="Objects that cannot be used").get_by_role("row")
    expect(unusable.filter(has_text="notes.txt")).to_contain_text("does not end with .safetensors")
    expect(unusable.filter(has_text="broken")).to_contain_text("not a safetensors file")


def test_a_lora_is_found_by_name_copied_as_a_tag_used_and_deleted(
    page: Page, api_only: str, services: Services
) -> None:
    for name in ("anime", "paper"):
        put(services, name, lora())
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{api_only}/#/loras")
    page.get_by_label("Search by name").fill("PAP")
    expect(row(page, "anime")).to_have_count(0)
    page.get_by_label("Search by name").fill("pear")
    expect(page.get_by_text("No LoRA has this in its name.")).to_be_visible()
    page.get_by_label("Search by name").fill("")
    row(page, "paper").get_by_role("button", name="Copy tag").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "<lora:paper:1>"
    row(page, "paper").get_by_role("link", name="Use").click()
    expect(page.get_by_label("paper, as a number")).to_have_value("1")
    page.go_back()
    row(page, "paper").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row(page, "paper")).to_have_count(0)
    assert not services.loras.exists("paper.safetensors")


def test_a_tenant_may_delete_its_own_loras_and_not_public_ones(
    page: Page, keyed_api: str, services: Services
) -> None:
    add_tenant(services, "acme")
    put(services, "anime", lora())
    put(services, "logo", lora(), "acme")
    log_in(page, keyed_api, make_key(keyed_api, "acme", scopes=["jobs", "loras"]))
    page.goto(f"{keyed_api}/#/loras")
    expect(row(page, "logo")).to_contain_text("own")
    expect(row(page, "logo").get_by_role("button", name="Delete")).to_be_visible()
    expect(row(page, "anime")).to_contain_text("public")
    expect(row(page, "anime").get_by_role("button", name="Delete")).to_have_count(0)
    expect(page.get_by_role("columnheader", name="Cached")).to_have_count(0)  # its key may not see the fleet


def test_a_key_for_jobs_alone_reads_no_loras_view(page: Page, keyed_api: str, services: Services) -> None:
    log_in(page, keyed_api, make_key(keyed_api, "local", scopes=["jobs"]))
    page.goto(keyed_api)
    expect(page.get_by_role("navigation").get_by_role("link", name="Gallery")).to_be_visible()
    expect(page.get_by_role("navigation").get_by_role("link", name="LoRAs")).to_have_count(0)
    assert BOOTSTRAP_KEY not in page.content()
