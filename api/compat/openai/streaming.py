"""Server-sent events of a call with ``stream``: partial images, then the whole one."""

import base64
import io
import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

from flask import request
from PIL import Image

from api.compat.openai.errors import detail_of, explain_failure
from api.compat.openai.fields import AcceptedCall
from api.compat.openai.responses import Usage
from api.compat.waiting import WaitingCall
from api.middleware.errors import swift_error_of
from api.services import Services
from shared.errors import ClientDisconnected
from shared.image_files.formats import PNG
from shared.jobs.record import Job

Kind = Literal["image_generation", "image_edit"]
#: Of a model whose files do not say their size.
_SIZE = 512, 512


class ImageStream:
    """The events of one call, whose job is accepted."""

    def __init__(self, kind: Kind, call: AcceptedCall, waiting: WaitingCall, services: Services) -> None:
        self._kind, self._call, self._waiting, self._services = kind, call, waiting, services
        self._spec = spec = call.spec
        self._path = request.path
        own = services.families.default_size(spec.model) or _SIZE
        self._size = spec.width or own[0], spec.height or own[1]
        self._events = waiting.events(with_previews=call.options.partial_images > 0)

    def blocks(self) -> Iterator[str]:
        """The text of the stream; what goes wrong is an event `error`, as its status is sent already."""
        try:
            yield from self._partial_images()
            yield self._end(self._waiting.read())
        except ClientDisconnected:
            return
        except Exception as error:
            ours = swift_error_of(error, self._path)
            yield _block("error", {"error": detail_of(ours.status, str(ours), ours.code).model_dump()})
        finally:
            self._waiting.close()

    def _partial_images(self) -> Iterator[str]:
        """As many as were asked for, at equal distances, if the job is not faster than its previews."""
        wanted, sent, total = self._call.options.partial_images, 0, self._spec.num_inference_steps
        for event in self._events:
            if event is None:
                yield ": still here\n\n"
                continue
            data = json.loads(event.data)
            if event.kind == "progress":
                total = data["total"]
            elif event.kind == "preview" and sent < wanted and _is_due(data["step"], total, sent, wanted):
                enlarge = partial(self._enlarge, data["png"])
                image = self._services.offload(enlarge)
                yield self._block("partial_image", {"b64_json": image, "partial_image_index": sent})
                sent += 1

    def _end(self, job: Job) -> str:
        if job.status != "succeeded":
            _, detail = explain_failure(job.error, job.status)
            return _block("error", {"error": detail.model_dump()})
        image = base64.b64encode(self._services.images.get(job.images[0].key)).decode()
        self._size = job.images[0].width, job.images[0].height
        more = {"id": job.id, "seed": job.images[0].seed, "warnings": [*self._call.warnings, *job.warnings]}
        return self._block("completed", {"b64_json": image, "usage": Usage().model_dump(), **more})

    def _block(self, what: Literal["partial_image", "completed"], fields: dict[str, Any]) -> str:
        kind = f"{self._kind}.{what}"
        data = {
            "type": kind,
            "created_at": int(time.time()),
            "size": f"{self._size[0]}x{self._size[1]}",
            "quality": "high",
            "background": "opaque",
            "output_format": self._spec.output_format,
        }
        return _block(kind, data | fields)

    def _enlarge(self, preview: str) -> str:
        """A preview, which has one pixel for each latent, in the image's size and format; in base64."""
        with Image.open(io.BytesIO(base64.b64decode(preview)), formats=["PNG"]) as image:
            enlarged = image.convert("RGB").resize(self._size, Image.Resampling.BICUBIC)
        file = io.BytesIO()
        options = {"compress_level": 1} if self._spec.output_format == PNG else {}
        enlarged.save(file, self._spec.output_format.upper(), **options)
        return base64.b64encode(file.getvalue()).decode()


def _is_due(step: int, total: int, sent: int, wanted: int) -> bool:
    """Whether the next partial image is: ``wanted`` of them part a job into equal pieces."""
    return step * (wanted + 1) >= total * (sent + 1)


def _block(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
