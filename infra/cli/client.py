"""The API as a client sees it: submit, follow, fetch; every refusal is one sentence."""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from shared.errors import SwiftError

#: An answer of the API, and the silence between two events: the API says at least "still here".
ANSWER_S, EVENT_S = 30.0, 60.0
#: A stream of events that breaks off is resumed so often without news.
RESUMES, RESUME_S = 5, 1.0


class ApiFailed(SwiftError):
    """The API refused, or does not answer."""

    code = "api_failed"


def api_argument(parser: argparse.ArgumentParser) -> None:
    """Where the fleet is; unset: where the settings say that it is."""
    parser.add_argument("--api", metavar="URL", help="of the fleet's API; default: as the settings say")


class Api:
    """The REST API at ``url``. Its methods raise `ApiFailed`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def submit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a job; returns what the API accepted, with links."""
        return self._json(self._call("POST", "/v1/jobs", json=body))

    def read(self, path: str) -> dict[str, Any]:
        """What is told at ``path``, a link of an answer."""
        return self._json(self._call("GET", path))

    def fetch(self, path: str) -> bytes:
        """The bytes at ``path``."""
        return self._call("GET", path).content

    def events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """A job's events, their kind and data, to the closing ``done``; a broken stream is resumed."""
        last, breaks = "", 0
        while breaks <= RESUMES:
            why = "the stream of events ended"
            try:
                for event in self._stream(path, last):
                    last, kind, data = event
                    yield kind, data
                    if kind == "done":
                        return
                    breaks = 0
            except requests.RequestException as error:
                why = str(error)
            breaks += 1
            time.sleep(RESUME_S)
        raise ApiFailed(f"{self.url} does not answer: {why}")

    def _stream(self, path: str, after: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        headers = {"Last-Event-ID": after} if after else {}
        with requests.get(
            self.url + path, headers=headers, stream=True, timeout=(ANSWER_S, EVENT_S)
        ) as answer:
            answer.raise_for_status()
            event: dict[str, str] = {}
            for line in answer.iter_lines(chunk_size=1):
                field, _, value = line.decode().partition(": ")
                event[field] = value
                if not line and "data" in event:
                    yield event["id"], event["event"], json.loads(event["data"])
                    event = {}

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            answer = requests.request(method, self.url + path, timeout=ANSWER_S, **options)
        except requests.RequestException as error:
            raise ApiFailed(f"{self.url} does not answer: {error}") from None
        if not answer.ok:
            raise ApiFailed(_sentence(answer))
        return answer

    def _json(self, answer: requests.Response) -> dict[str, Any]:
        try:
            told: dict[str, Any] = answer.json()
        except ValueError:
            raise ApiFailed(f"{answer.url} answers no JSON: is it a fleet's API?") from None
        return told


def _sentence(answer: requests.Response) -> str:
    """The problem document in one line."""
    try:
        problem = answer.json()
        field = f"{problem['field']}: " if problem.get("field") else ""
        return f"{answer.status_code} {problem['code']}: {field}{problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.url} answers {answer.status_code} {answer.reason}: is it a fleet's API?"
