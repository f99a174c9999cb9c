"""Puts problem documents into the words of the API whose path they answer."""

from collections.abc import Sequence

from flask import Flask, Response, g, request

from api.compat.a1111 import errors as a1111
from api.compat.openai import errors as openai


def register(app: Flask) -> None:
    """Have problems under the paths of compatible APIs answered in these APIs' shapes.

    Register it after what measures and compresses responses: Flask asks the last one first.
    """

    @app.after_request
    def after_request(response: Response) -> Response:
        job_id, units = g.get("openai_job"), g.get("a1111_units", ())
        return reshape(response, request.path, job_id=job_id, units=units)


def reshape(
    response: Response, path: str, *, job_id: str | None = None, units: Sequence[int] = ()
) -> Response:
    """A response of ``path`` in its API's shape; also outside of a request, where nothing else is known.

    ``job_id`` and ``units`` are what `note_job` of OpenAI's and `note_units` of A1111's errors have noted.
    """
    response = openai.reshape(response, path, job_id=job_id)
    return a1111.reshape(response, path, units=units)
