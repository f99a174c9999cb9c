"""Whether a resolved job is the one whose receipt it replays, and what only the receipt knows of it."""

from itertools import pairwise

from api.services import Services
from api.submission.images.decode import read_stored_image
from api.submission.source import Source
from shared.errors import ImageGone, InvalidRequest, ReceiptMismatch, StoredImageMissing
from shared.jobs.receipt import Receipt
from shared.jobs.spec import JobSpec

#: What a replay resolves anew: files by their names, and when each of them takes effect.
_RESOLVED_ANEW = {"loras", "lora_loading"}


def match_receipt(spec: JobSpec, receipt: Receipt, source: Source, services: Services) -> JobSpec:
    """The job to run: ``spec`` with the split steps and control maps of ``receipt``.

    Raises `InvalidRequest` for a receipt that contradicts itself, `ImageGone` for a control map that is no
    longer stored, and `ReceiptMismatch` for a LoRA that is known to differ. Workers check models, ControlNets
    and files themselves.
    """
    was = receipt.spec
    matched = spec.with_control_maps([controlnet.control_map for controlnet in was.controlnets]).model_copy(
        update={"latent_parallelism": was.latent_parallelism, "split_steps": was.split_steps}
    )
    _check_same(was, matched, source.prefix)
    _check_split_steps(was, source.prefix)
    _check_loras(receipt, services)
    _check_control_maps(was, source, services)
    return matched


def _check_same(was: JobSpec, resolved: JobSpec, prefix: str) -> None:
    """A receipt says some things twice, as seeds and their number: both must say the same."""
    for name in JobSpec.model_fields.keys() - _RESOLVED_ANEW:
        stated, found = getattr(was, name), getattr(resolved, name)
        if stated != found:
            detail = f"{name} is {stated!r} here, and the other fields of the receipt make it {found!r}"
            raise InvalidRequest(detail, field=f"{prefix}.{name}")


def _check_split_steps(was: JobSpec, prefix: str) -> None:
    last = 2 * was.num_inference_steps  # some schedulers have two timesteps for each step
    steps = was.split_steps
    if any(after <= before for before, after in pairwise(steps)) or any(step >= last for step in steps):
        raise InvalidRequest(f"split_steps must rise and be less than {last}", field=f"{prefix}.split_steps")


def _check_loras(receipt: Receipt, services: Services) -> None:
    """Compare the sha256 that an upload notes in a file's metadata; other files the worker compares."""
    for lora in receipt.loras:
        noted = services.inspections.find(lora.name)[0].metadata.get("sha256", lora.sha256)
        if noted != lora.sha256:
            raise ReceiptMismatch(f"the bytes of LoRA {lora.name!r}", was=lora.sha256, now=noted)


def _check_control_maps(was: JobSpec, source: Source, services: Services) -> None:
    """Control maps are not computed again: another version of a preprocessor could give other edges."""
    for i, controlnet in enumerate(was.controlnets):
        if controlnet.control_map not in (None, controlnet.image):
            field = f"{source.prefix}.controlnets.{i}.{source.map_field}"
            max_px = services.settings.max_control_px
            try:
                read_stored_image(services.images, controlnet.control_map, max_px=max_px, field=field)
            except StoredImageMissing as error:
                raise ImageGone(str(error), field=field) from None
