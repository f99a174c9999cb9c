"""Every error the fleet raises on purpose. Anything else is a bug.

The class decides three things: ``code`` is what clients match on, ``status`` is what HTTP answers,
``retryable`` says whether another attempt at the same job may succeed.
"""

from collections.abc import Mapping, Sequence
from typing import Literal


class SwiftError(Exception):
    """Base of the fleet's own errors."""

    code = "internal"
    status = 500
    retryable = False


class InvalidSetting(SwiftError):
    """An environment variable or the catalog has an invalid value."""

    code = "invalid_setting"


class InvalidRequest(SwiftError):
    """The request names something unknown or impossible; ``field`` points at it."""

    code = "invalid_request"
    status = 422

    def __init__(self, detail: str, *, field: str) -> None:
        super().__init__(detail)
        self.field = field


class InvalidImage(InvalidRequest):
    """A control image that is no still PNG, JPEG or WebP within the limits."""

    code = "invalid_image"


class StoredImageMissing(InvalidImage):
    """An image that is named by its hash, and is not stored (any more)."""


class ReceiptEdited(InvalidRequest):
    """A receipt whose fields do not match its digest."""

    code = "receipt_edited"


class ReceiptMismatch(SwiftError):
    """A model, ControlNet or LoRA has changed since the receipt was written."""

    code = "receipt_mismatch"
    status = 409

    def __init__(self, what: str, *, was: str, now: str) -> None:
        super().__init__(f"{what} changed since the receipt was written: it was {was}, it is {now} now")


class InvalidSafetensors(SwiftError):
    """A file of a LoRA or of a model that is no safetensors file, or not a whole one."""

    code = "invalid_safetensors"
    status = 422


class InvalidLora(SwiftError):
    """A file that is no LoRA, or that does not fit the model."""

    code = "invalid_lora"
    status = 422


class BadRequest(SwiftError):
    """The request is not what HTTP or JSON call well formed."""

    code = "bad_request"
    status = 400


class Unauthorized(SwiftError):
    """The request does not say who it is from in a way that is known."""

    code = "unauthorized"
    status = 401


class KeyMissing(Unauthorized):
    """The request has no API key."""

    code = "key_missing"


class KeyMalformed(Unauthorized):
    """What was sent is no API key, or not a whole one."""

    code = "key_malformed"


class KeyUnknown(Unauthorized):
    """There is no such API key."""

    code = "key_unknown"


class KeyExpired(Unauthorized):
    """The API key was right, and its time is over."""

    code = "key_expired"


class KeyRevoked(Unauthorized):
    """The API key was right, and an admin has revoked it."""

    code = "key_revoked"


class SessionEnded(Unauthorized):
    """The session's time is over, or its key's; log in again."""

    code = "session_ended"


class Forbidden(SwiftError):
    """Who asks may not do this, or a web page of another origin asks for a change."""

    code = "forbidden"
    status = 403


class ScopeMissing(Forbidden):
    """The API key is right, and not made for this."""

    code = "scope_missing"


class CsrfTokenMissing(Forbidden):
    """A change that a browser's session asks for does not repeat the session's token."""

    code = "csrf_token_missing"


class Misdirected(SwiftError):
    """The request is for a host that this API is not."""

    code = "misdirected_request"
    status = 421


class NotFound(SwiftError):
    """There is no such job, image or LoRA."""

    code = "not_found"
    status = 404


class NoPreview(NotFound):
    """A job has no preview, or none yet."""

    code = "no_preview"


class JobUnreadable(SwiftError):
    """The record of a job is damaged, or of a newer version; it can be cancelled and deleted."""

    code = "job_unreadable"


class ImageGone(SwiftError):
    """The image was there, and its time is over."""

    code = "image_gone"
    status = 410

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.field = field


class CatalogGone(SwiftError):
    """A model, ControlNet or scheduler is no longer in the catalog; ``code`` is ``model_gone`` and so on."""

    status = 409

    def __init__(self, kind: Literal["model", "controlnet", "scheduler"], name: str) -> None:
        super().__init__(f"{kind} {name!r} left the catalog after the job was accepted")
        self.code = f"{kind}_gone"


class RequestTimeout(SwiftError):
    """The client has stopped in the middle of its body."""

    code = "request_timeout"
    status = 408


class Conflict(SwiftError):
    """The resource is not in a state that allows this."""

    code = "conflict"
    status = 409


class TooLarge(SwiftError):
    """A body over the limit."""

    code = "too_large"
    status = 413


class TooManyRequests(SwiftError):
    """A limit on requests is reached; ``policy`` is its name, ``limit`` the requests of each ``window_s``."""

    code = "too_many_requests"
    status = 429
    retryable = True

    def __init__(self, detail: str, *, policy: str, limit: int, window_s: int, retry_after_s: int) -> None:
        super().__init__(detail)
        self.policy, self.limit, self.window_s = policy, limit, window_s
        self.retry_after_s = retry_after_s
        self.remaining = 0


class LimitExceeded(TooManyRequests):
    """A limit of a tenant leaves no room; without ``window_s`` it is not of a span of time."""

    code = "limit_exceeded"

    def __init__(
        self,
        detail: str,
        *,
        policy: str,
        limit: int,
        remaining: int = 0,
        window_s: int = 0,
        retry_after_s: int = 2,
    ) -> None:
        super().__init__(detail, policy=policy, limit=limit, window_s=window_s, retry_after_s=retry_after_s)
        self.remaining = remaining


class Unavailable(SwiftError):
    """Redis, S3 or a slot is missing right now; try again shortly."""

    code = "unavailable"
    status = 503
    retryable = True


class S3Unavailable(Unavailable):
    """S3 does not answer, or refuses."""


class LoraGone(SwiftError):
    """The LoRA was deleted or replaced after the job was accepted."""

    code = "lora_gone"
    status = 409


class LoraUnavailable(SwiftError):
    """The LoRA did not arrive before the deadline."""

    code = "lora_unavailable"
    status = 503
    retryable = True


class ResidualTimeout(SwiftError):
    """No ControlNet worker answered a step before the deadline."""

    code = "residual_timeout"
    status = 503
    retryable = True

    def __init__(self, controlnet: str, step: int, waited_s: float) -> None:
        super().__init__(f"ControlNet {controlnet!r}: no residuals for step {step} after {waited_s:.1f} s")


class InputsMissing(SwiftError):
    """A step names inputs that the residual server no longer holds; they must be sent again."""

    code = "inputs_missing"
    status = 503
    retryable = True


class ResidualLost(SwiftError):
    """A residual was announced and is gone: expired, evicted, or its server or writer died."""

    code = "residual_lost"
    status = 503
    retryable = True


class ResidualServersFull(SwiftError):
    """The residual servers are full, and no reader freed memory in time."""

    code = "residuals_full"
    status = 503
    retryable = True


class ControlNetFailed(SwiftError):
    """A ControlNet worker could not compute a step, and no other could either."""

    code = "controlnet_failed"


class ControlNetChanged(SwiftError):
    """Workers hold different weights under one ControlNet's name: one image must not mix them."""

    code = "controlnet_changed"
    status = 503
    retryable = True


class DeviceLost(SwiftError):
    """A worker's device answers nothing but errors any more: its process ends, and another one starts."""

    code = "device_lost"
    status = 503
    retryable = True


class DeviceFull(SwiftError):
    """A device has too little memory for the work, even with nothing else on it."""

    code = "device_full"
    status = 503
    retryable = True


class ModelFailed(SwiftError):
    """A model or ControlNet of the catalog cannot be loaded."""

    code = "model_failed"
    status = 503


class NonFiniteWeights(SwiftError):
    """A LoRA leaves weights that are NaN or infinite; ``weights`` are their parts and names."""

    code = "non_finite_weights"

    def __init__(self, detail: str, *, weights: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        self.weights = list(weights)


class NonFiniteLatents(SwiftError):
    """The denoising loop computed NaN or infinity; the message says where they came from."""

    code = "non_finite_latents"


class NonFiniteImage(SwiftError):
    """The VAE decoded finite latents to NaN or infinity."""

    code = "non_finite_image"


class DeadlineExceeded(SwiftError):
    """The job ran longer than it may."""

    code = "deadline_exceeded"
    status = 504


class DeadlineUnreachable(SwiftError):
    """The job cannot be done by the deadline of its request: it is not accepted.

    ``estimate``: fields of `shared.jobs.record.JobEstimate`.
    """

    code = "deadline_unreachable"
    status = 409

    def __init__(self, detail: str, *, estimate: Mapping[str, float | None]) -> None:
        super().__init__(detail)
        self.estimate = estimate


class DeadlinePassed(SwiftError):
    """The job was not done by the deadline that its request has set."""

    code = "deadline_passed"
    status = 504


class AttemptsExhausted(SwiftError):
    """Every worker that tried the job died or gave it back."""

    code = "attempts_exhausted"


class JobCancelled(SwiftError):
    """Somebody cancelled the job: stop, and free the device."""

    code = "cancelled"
    status = 409


class WorkerStopping(SwiftError):
    """The worker was told to stop: its job goes to another one."""

    code = "worker_stopping"
    status = 503
    retryable = True


class JobPreempted(SwiftError):
    """An interactive job takes the device: this one goes on later, from its checkpoint."""

    code = "preempted"
    status = 503
    retryable = True


class AttemptLost(SwiftError):
    """Another attempt holds the job now: this one must write nothing more."""

    code = "attempt_lost"
    status = 409


class ClientDisconnected(BaseException):
    """The client of a waiting call has hung up. No `Exception`: nothing retries or translates it."""
