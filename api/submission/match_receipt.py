"""Whether a resolved job is the one whose receipt it replays."""

from itertools import pairwise

from shared.errors import InvalidRequest
from shared.jobs.receipt import Receipt
from shared.jobs.spec import JobSpec

#: What a replay resolves anew: files by their names, and when each of them takes effect.
_RESOLVED_ANEW = {"loras", "lora_loading"}


def match_receipt(spec: JobSpec, receipt: Receipt, prefix: str) -> None:
    """Raise `InvalidRequest` for a receipt that contradicts itself, at a field behind ``prefix``.

    A receipt says some things twice, as seeds and their number; both must say the same. What a receipt cannot
    say of models, ControlNets and files, the workers check.
    """
    for name in JobSpec.model_fields:
        stated, found = getattr(receipt.spec, name), getattr(spec, name)
        if stated != found and name not in _RESOLVED_ANEW:
            detail = f"{name} is {stated!r} here, and the other fields of the receipt make it {found!r}"
            raise InvalidRequest(detail, field=f"{prefix}.{name}")
    for i, (lora, ref) in enumerate(zip(receipt.spec.loras, spec.loras, strict=True)):
        if lora.name != ref.name:  # a worker looks the bytes of a LoRA up by its name
            detail = f"a receipt names this LoRA {ref.name!r}, without the suffix of its file"
            raise InvalidRequest(detail, field=f"{prefix}.loras.{i}.name")
    last = 2 * spec.num_inference_steps  # some schedulers have two timesteps for each step
    steps = spec.split_steps
    if any(after <= before for before, after in pairwise(steps)) or any(step >= last for step in steps):
        raise InvalidRequest(f"split_steps must rise and be less than {last}", field=f"{prefix}.split_steps")
