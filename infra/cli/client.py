"""A Python client of the REST API in one file: copy it; it needs nothing but ``requests``.

client = Client("http://127.0.0.1:8080")
result = client.generate("a red apple", seed=7, loras={"twemoji": 0.8}, controlnets={"edge": "map.png"})
result.save("apple.png")
"""

import base64
import json
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests

#: Seconds until an answer of the API must have begun, and between two events: a quiet stream has comments.
ANSWER_S, EVENT_S = 30.0, 60.0
#: A request that met a restart, and a stream of events that broke off, are tried again so often.
RETRIES, RETRY_S = 5, 1.0

#: In place of the kind of an event: the API answers that no event will follow.
_END = "end"

#: The bytes of an image file, or its path.
ImageFile = bytes | str | Path


class ApiError(Exception):
    """The API refused, does not answer, or a job ended without images.

    ``code`` is the API's own (``invalid_request``, ``not_found``, …), ``no_answer``, or what failed the job.
    ``status`` is the HTTP status, 0 where there is none; ``field`` the field of the request at fault.
    """

    def __init__(self, detail: str, *, code: str, status: int = 0, field: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.field = field


@dataclass(frozen=True)
class Result:
    """A job that succeeded: its record in the API, and its image files in order."""

    job: dict[str, Any]
    images: list[bytes]

    def save(self, path: str | Path) -> list[Path]:
        """Write the images, several as ``NAME-0.png``, ``NAME-1.png``, …; returns the paths."""
        path = Path(path)
        if len(self.images) == 1:
            paths = [path]
        else:
            paths = [path.with_stem(f"{path.stem}-{n}") for n in range(len(self.images))]
        for one, data in zip(paths, self.images, strict=True):
            one.write_bytes(data)
        return paths


class Client:
    """The API at ``url``, with an API key if it asks for one. Its methods raise `ApiError`."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._key_header = {"Authorization": f"Bearer {key}"} if key else {}

    def generate(
        self,
        prompt: str,
        *,
        loras: Mapping[str, float] | None = None,
        controlnets: Mapping[str, ImageFile] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        **fields: Any,
    ) -> Result:
        """Submit a job, wait until it has ended, fetch its images.

        ``loras`` are names with scales, ``controlnets`` names with control images, ``fields`` any others of
        ``POST /v1/jobs``. ``on_progress`` is called with the steps done and all steps. An interrupt
        cancels the job.
        """

        def on_event(kind: str, data: dict[str, Any]) -> None:
            if kind == "progress" and on_progress is not None:
                on_progress(data["step"], data["total"])

        job = self.run(request_of(prompt, loras=loras, controlnets=controlnets, **fields), on_event)
        return self.result(job)

    def run(
        self, request: Mapping[str, Any], on_event: Callable[[str, dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Submit ``request``, the body of ``POST /v1/jobs``; returns the job once it has succeeded.

        ``on_event`` is called with the kind and data of every event. An interrupt cancels the job.
        """
        accepted = self.submit(request)
        try:
            for kind, data in self.events(accepted["links"]["events"]):
                on_event(kind, data)
        except KeyboardInterrupt:
            self.cancel(accepted["id"])
            raise
        job = self.read(accepted["links"]["self"])
        if job["status"] != "succeeded":
            error = job["error"] or {"code": job["status"], "detail": "it ended without images"}
            reason = f"{error['code']}: {error['detail']}"
            raise ApiError(f"job {job['id']} {job['status']}: {reason}", code=error["code"])
        return job

    def result(self, job: dict[str, Any]) -> Result:
        """A job that succeeded, with its images."""
        return Result(job, [self.fetch(image["url"]) for image in job["images"]])

    def submit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Queue a job; returns its id and links. Sent again after a broken connection, it is the same job."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return self._json(self._call("POST", "/v1/jobs", json=dict(request), headers=headers))

    def estimate(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """When a job would be done, which is not accepted: the ``estimate`` of an answer to a submission."""
        return self._json(self._call("POST", "/v1/jobs?dry_run=1", json=dict(request)))

    def cancel(self, job_id: str) -> None:
        """Cancel a job; one that has ended is left as it is."""
        self._call("POST", f"/v1/jobs/{job_id}/cancel")

    def read(self, path: str) -> dict[str, Any]:
        """The JSON at ``path``, for example a link of an answer."""
        return self._json(self._call("GET", path))

    def fetch(self, path: str) -> bytes:
        """The bytes at ``path``, for example an image's URL."""
        return self._call("GET", path).content

    def events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """A job's events, kind and data, to the closing ``done``; a stream that breaks off is resumed."""
        for kind, data in self._resumed(path):
            yield kind, data
            if kind == "done":
                return

    def follow(self, job_ids: Collection[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of several jobs in one stream until all have ended: kind, and data with the job's id.

        Without ``job_ids`` those of every job from now on, without an end, but for previews.
        """
        query = urlencode([("job", job_id) for job_id in job_ids])
        left = set(job_ids)
        for kind, data in self._resumed(f"/v1/events?{query}" if query else "/v1/events"):
            yield kind, data
            if kind == "done" and left:
                left.discard(data["job"])
                if not left:
                    return

    def _resumed(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of a stream, resumed when it breaks off; ends where the API says that none follows."""
        last, breaks = "", 0
        while breaks <= RETRIES:
            reason = "the stream of events ended"
            try:
                for event_id, kind, data in self._stream(path, last):
                    last = event_id
                    if kind == _END:
                        return
                    if kind:
                        breaks = 0
                        yield kind, data
            except requests.RequestException as error:
                reason = _reason(error)
            breaks += 1
            time.sleep(RETRY_S)
        raise self._no_answer(reason)

    def _stream(self, path: str, last: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The id to resume after, kind and data of each block; without a kind it only says the first."""
        headers = self._key_header | ({"Last-Event-ID": last} if last else {})
        with requests.get(
            self._at(path), headers=headers, stream=True, timeout=(ANSWER_S, EVENT_S)
        ) as answer:
            if answer.status_code != 503:  # that one passes
                self._check(answer)
            answer.raise_for_status()
            if answer.status_code == 204:  # nothing more will come
                yield last, _END, {}
            event: dict[str, str] = {}
            for line in answer.iter_lines(chunk_size=1):  # larger pieces would hold events back
                field, _, value = line.decode(errors="replace").partition(": ")
                event[field] = value
                if line:
                    continue
                last = event.get("id", last)
                try:
                    yield last, event.get("event", ""), json.loads(event.get("data", "{}"))
                except ValueError:
                    raise self._not_a_fleet(answer) from None
                event = {}

    def _at(self, path: str) -> str:
        """The URL of ``path``; links of an API behind a proxy begin with the path that ``url`` ends with."""
        prefix = urlsplit(self.url).path
        return self.url + (path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Any other call of the API, with a JSON body; returns its JSON, empty if it has none."""
        answer = self._call(method, path, json=None if body is None else dict(body))
        return self._json(answer) if answer.content else {}

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        reason = ""
        options["headers"] = self._key_header | options.get("headers", {})
        for attempt in range(RETRIES + 1):
            if attempt:
                time.sleep(RETRY_S)
            try:
                answer = requests.request(method, self._at(path), timeout=ANSWER_S, **options)
            except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                reason = _reason(error)
                if attempt == 0 and "refused" in reason:
                    break  # no server listens there: fail at once
                continue
            except requests.exceptions.InvalidJSONError as error:
                raise ApiError(f"the request is no JSON: {error}", code="invalid_request") from None
            except (requests.RequestException, ValueError) as error:  # ValueError: no URL at all
                raise self._no_answer(_reason(error)) from None
            if answer.status_code != 503 or attempt == RETRIES:
                self._check(answer)
                return answer
        raise self._no_answer(reason)

    def _check(self, answer: requests.Response) -> None:
        """Raise the problem document of a refusal as one sentence."""
        if answer.ok:
            return
        try:
            problem = answer.json()
            code, field, detail = problem["code"], problem.get("field"), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            raise self._not_a_fleet(answer) from None
        where = f"{field}: " if field and not detail.startswith(f"{field}: ") else ""
        raise ApiError(
            f"{answer.status_code} {code}: {where}{detail}", code=code, status=answer.status_code, field=field
        )

    def _json(self, answer: requests.Response) -> dict[str, Any]:
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise self._not_a_fleet(answer)
        return body

    def _not_a_fleet(self, answer: requests.Response) -> ApiError:
        detail = f"{answer.url} answers {answer.status_code} {answer.reason}, but not as a fleet's API does"
        return ApiError(detail, code="no_answer", status=answer.status_code)

    def _no_answer(self, reason: str) -> ApiError:
        return ApiError(f"no answer from {self.url}: {reason}", code="no_answer")


def request_of(
    prompt: str,
    *,
    loras: Mapping[str, float] | None = None,
    controlnets: Mapping[str, ImageFile] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """The body of ``POST /v1/jobs``; ``image`` and ``mask_image`` may be paths or bytes, too."""
    request = {"prompt": prompt, **fields}
    for name in ("image", "mask_image"):
        if request.get(name) is not None:
            request[name] = encode_image(request[name])
    if loras:
        request["loras"] = [{"name": name, "scale": scale} for name, scale in loras.items()]
    if controlnets:
        images = {name: encode_image(image) for name, image in controlnets.items()}
        request["controlnets"] = [{"name": name, "image": image} for name, image in images.items()]
    return request


def encode_image(image: ImageFile) -> str:
    """Base64 of an image file; a string that names a stored image (``sha256:…``) is left as it is."""
    if isinstance(image, str) and image.startswith("sha256:"):
        return image
    return base64.b64encode(image if isinstance(image, bytes) else Path(image).read_bytes()).decode()


def _reason(error: Exception) -> str:
    """The cause, without the names of the HTTP library's classes."""
    text = str(error)
    if "refused" in text:
        return "connection refused; is the fleet running?"
    if "resolve" in text or "Name or service" in text:
        return "there is no such host"
    if isinstance(error, (requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema)):
        return "the address must begin with http:// or https://"
    if isinstance(error, requests.Timeout):
        return "it takes too long"
    if isinstance(error, (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return "the connection broke"
    return text
