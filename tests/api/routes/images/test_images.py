import hashlib
import io
import zipfile

import pytest
from flask.testing import FlaskClient
from PIL import Image

from api.routes.images.archive import CHUNK_BYTES, write_archive
from api.services import Services
from shared.jobs.attempt import Attempt
from shared.jobs.record import StoredImage
from shared.keys import LOCAL, control_key
from tests.api.services import MAP, edge, image_file, succeed


@pytest.fixture
def attempt(client: FlaskClient, services: Services) -> Attempt:
    job_id = client.post("/v1/jobs", json={"prompt": "a cat", "seed": 7}).json["id"]
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    return attempt


def stored(key: str) -> StoredImage:
    return StoredImage(key=key, seed=7, width=64, height=64, sha256=hashlib.sha256(key.encode()).hexdigest())


def finish(services: Services, attempt: Attempt, png: bytes) -> str:
    services.images.put("images/x.png", png, content_type="image/png")
    sha256 = hashlib.sha256(png).hexdigest()
    succeed(attempt, [StoredImage(key="images/x.png", seed=7, width=64, height=64, sha256=sha256)])
    return sha256


def test_an_image_is_the_png_that_was_stored(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    png = image_file((600, 600))
    sha256 = finish(services, attempt, png)
    answer = client.get(f"/v1/jobs/{attempt.job.id}/images/0")
    assert (answer.status_code, answer.content_type) == (200, "image/png")
    assert answer.data == png
    assert answer.content_length == len(png)
    assert answer.headers["ETag"] == f'"{sha256}"'
    assert "immutable" in answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("application/octet-stream", "application/octet-stream"),
        ("text/html", "image/png"),
    ],
)
def test_an_image_is_sent_as_the_type_that_the_client_accepts(
    accept: str | None, content_type: str, client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    finish(services, attempt, image_file())
    headers = {} if accept is None else {"Accept": accept}
    answer = client.get(f"/v1/jobs/{attempt.job.id}/images/0", headers=headers)
    assert (answer.content_type, answer.data) == (content_type, image_file())
    assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_an_image_of_another_format_is_sent_as_what_it_is(
    output_format: str, client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    data = image_file(format=output_format.upper())
    services.images.put(f"images/x.{output_format}", data, content_type=f"image/{output_format}")
    succeed(attempt, [stored(f"images/x.{output_format}")])
    answer = client.get(f"/v1/jobs/{attempt.job.id}/images/0")
    assert (answer.content_type, answer.data) == (f"image/{output_format}", data)
    assert f'{attempt.job.id}-0.{output_format}"' in answer.headers["Content-Disposition"]
    [listed] = client.get(f"/v1/jobs/{attempt.job.id}/images").json["images"]
    assert listed["content_type"] == f"image/{output_format}"


def test_a_thumbnail_is_small_made_once_and_cached(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    png = image_file((1200, 600))
    services.images.put("images/x.png", png, content_type="image/png")
    large = stored("images/x.png").model_copy(update={"width": 1200, "height": 600})
    succeed(attempt, [large])
    url = f"/v1/jobs/{attempt.job.id}/images/0/thumbnail"
    answer = client.get(url)
    assert (answer.status_code, answer.content_type) == (200, "image/jpeg")
    with Image.open(io.BytesIO(answer.data)) as image:
        assert image.size == (320, 160)
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["ETag"] != f'"{large.sha256}"'
    assert client.get(url, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    # The next one is not made again, nor is the image read
    services.images.delete("images/x.png")
    assert client.get(url).data == answer.data
    services.jobs.delete(attempt.job.id)
    assert client.get(url).status_code == 404


def test_a_small_image_is_its_own_thumbnail(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    sha256 = finish(services, attempt, image_file())
    answer = client.get(f"/v1/jobs/{attempt.job.id}/images/0/thumbnail")
    assert (answer.content_type, answer.data) == ("image/png", image_file())
    assert answer.headers["ETag"] == f'"{sha256}"'


def test_a_thumbnail_of_an_image_that_is_gone_is_refused(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    url = f"/v1/jobs/{attempt.job.id}/images/0/thumbnail"
    assert client.get(url).status_code == 409
    succeed(attempt, [stored("images/gone.png").model_copy(update={"width": 512, "height": 512})])
    assert (client.get(url).status_code, client.get(url).json["code"]) == (410, "image_gone")


def test_all_images_of_a_job_are_one_file(client: FlaskClient, services: Services, attempt: Attempt) -> None:
    # Given a job with two images
    files = {"images/0.png": image_file((600, 600)), "images/1.jpeg": image_file(format="JPEG")}
    for key, data in files.items():
        services.images.put(key, data, content_type="image/png")
    succeed(attempt, [stored(key) for key in files])
    # When they are fetched as one
    url = f"/v1/jobs/{attempt.job.id}/images.zip"
    answer = client.get(url)
    # Then each is there under its name, and the same request later gets the same bytes, or none
    assert (answer.status_code, answer.content_type) == (200, "application/zip")
    assert f'attachment; filename="{attempt.job.id}.zip"' in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        read = {name: archive.read(name) for name in archive.namelist()}
    assert list(read) == [f"{attempt.job.id}-0.png", f"{attempt.job.id}-1.jpeg"]
    assert list(read.values()) == list(files.values())
    assert client.get(url).data == answer.data
    assert client.get(url, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_an_archive_is_sent_in_chunks_while_it_is_written(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    data = b"\0" * (3 * CHUNK_BYTES)
    services.images.put("images/x.png", data, content_type="image/png")
    succeed(attempt, [stored("images/x.png")] * 2)
    chunks = list(write_archive(services.jobs.get(attempt.job.id), services.images))
    assert sum(map(len, chunks)) > 2 * len(data)
    assert max(map(len, chunks)) < 2 * CHUNK_BYTES


def test_an_archive_of_a_job_without_images_is_refused_as_its_images_are(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    url = f"/v1/jobs/{attempt.job.id}/images.zip"
    assert (client.get(url).status_code, client.get(url).json["code"]) == (409, "conflict")
    attempt.end("failed", None, [])
    assert client.get(url).status_code == 404


def test_an_archive_of_which_an_image_is_gone_is_refused_whole(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    services.images.put("images/0.png", image_file(), content_type="image/png")
    succeed(attempt, [stored("images/0.png"), stored("images/1.png")])
    answer = client.get(f"/v1/jobs/{attempt.job.id}/images.zip")
    assert (answer.status_code, answer.json["code"]) == (410, "image_gone")


def test_an_image_that_the_client_has_is_not_sent_again(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    sha256 = finish(services, attempt, image_file())
    url = f"/v1/jobs/{attempt.job.id}/images/0"
    answer = client.get(url, headers={"If-None-Match": f'"{sha256}"'})
    assert (answer.status_code, answer.data) == (304, b"")
    assert client.get(url, headers={"If-None-Match": '"another"'}).status_code == 200


def test_the_images_of_a_job_are_listed_once_it_succeeded(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    url = f"/v1/jobs/{attempt.job.id}/images"
    assert client.get(url).json == {"images": []}
    finish(services, attempt, image_file())
    assert [image["url"] for image in client.get(url).json["images"]] == [f"{url}/0"]


def test_an_image_of_a_job_that_has_not_ended_is_a_conflict(client: FlaskClient, attempt: Attempt) -> None:
    answer = client.get(f"/v1/jobs/{attempt.job.id}/images/0")
    assert (answer.status_code, answer.json["code"]) == (409, "conflict")
    assert "running" in answer.json["detail"]


@pytest.mark.parametrize("n", ["1", "-1", "x"])
def test_an_image_out_of_range_is_not_found(
    client: FlaskClient, services: Services, attempt: Attempt, n: str
) -> None:
    finish(services, attempt, image_file())
    answer = client.get(f"/v1/jobs/{attempt.job.id}/images/{n}")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_a_failed_job_has_no_images(client: FlaskClient, attempt: Attempt) -> None:
    attempt.end("failed", None, [])
    assert client.get(f"/v1/jobs/{attempt.job.id}/images/0").status_code == 404


def test_control_image_and_control_map_of_a_controlnet_have_urls(
    client: FlaskClient, services: Services
) -> None:
    controlnets = [edge(), edge(preprocessor="canny")]
    url = client.post("/v1/jobs", json={"prompt": "a cat", "controlnets": controlnets}).headers["Location"]
    plain, canny = client.get(url).json["controlnets"]
    # A ControlNet without a preprocessor is shown its image, which is known from the start
    image = client.get(plain["image_url"])
    assert (image.status_code, image.content_type) == (200, "image/png")
    assert client.get(plain["map_url"]).data == image.data == client.get(canny["image_url"]).data
    # The other's map is made by a worker
    assert canny["map_url"] is None
    early = client.get(f"{url}/controlnets/1/map")
    assert (early.status_code, early.json["code"]) == (409, "conflict")
    assert "canny" in early.json["detail"]
    attempt = services.jobs.claim(url.split("/")[-1], "unet-1")
    assert attempt is not None
    services.images.put(control_key(MAP, tenant=LOCAL), b"edges", content_type="image/png")
    finish(services, attempt, image_file())
    assert client.get(client.get(url).json["controlnets"][1]["map_url"]).data == b"edges"


@pytest.mark.parametrize("what", ["image", "map"])
def test_a_controlnet_out_of_range_is_not_found(what: str, client: FlaskClient) -> None:
    url = client.post("/v1/jobs", json={"prompt": "a cat", "controlnets": [edge()]}).headers["Location"]
    assert client.get(f"{url}/controlnets/1/{what}").status_code == 404


def test_an_image_whose_time_is_over_is_gone_and_its_job_stays(
    client: FlaskClient, services: Services, attempt: Attempt
) -> None:
    finish(services, attempt, image_file())
    services.images.delete("images/x.png")
    answer = client.get(f"/v1/jobs/{attempt.job.id}/images/0")
    assert (answer.status_code, answer.json["code"]) == (410, "image_gone")
    assert client.get(f"/v1/jobs/{attempt.job.id}").json["status"] == "succeeded"


def test_a_control_image_whose_time_is_over_is_gone(client: FlaskClient, services: Services) -> None:
    job_id = client.post("/v1/jobs", json={"prompt": "a cat", "controlnets": [edge()]}).json["id"]
    image = services.jobs.get(job_id).spec.controlnets[0].image
    services.images.delete(control_key(image, tenant=LOCAL))
    answer = client.get(f"/v1/jobs/{job_id}/controlnets/0/image")
    assert (answer.status_code, answer.json["code"]) == (410, "image_gone")
