"""Maps the keys of a LoRA file to modules, by their names in the file, and to the tensors' roles.

Which module of the model a name means is up to the model's family (`workers.lora.targets`).
"""

import re
from collections import defaultdict
from collections.abc import Iterable

#: The end of a key says the tensor's role; what precedes it is the module, in any style.
_FACTOR = re.compile(r"[._]lora(_linear_layer)?[._](A|down|B|up|mid)(\.\w+)?\.(weight|bias)$")
#: XLabs numbers the factors of Flux's two streams, image and text: the number is part of the module's name.
_NUMBERED_FACTOR = re.compile(r"(?<=_lora[12])\.(down|up)\.weight$")
_MAGNITUDE = re.compile(r"\.lora_magnitude_vector(\.\w+)?(\.weight)?$")
_LYCORIS = re.compile(
    r"\.(alpha|dora_scale|diff|diff_b|w_norm|b_norm|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2)(\.weight)?$"
)
_FACTOR_ROLES = {"A": "a", "down": "a", "B": "b", "up": "b", "mid": "mid"}
#: LyCORIS' differences of a norm have the roles of other differences.
_NORM_ROLES = {"w_norm": "diff", "b_norm": "diff_b"}


def group_keys(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """For each module, by its name in the file, the keys of its tensors by their roles.

    Roles are ``a``, ``b`` and ``mid`` of a low-rank product, ``b_bias``, ``magnitude``, and LyCORIS' own
    names for the rest. Keys without a role are left out.
    """
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for key in keys:
        found = _role(key)
        if found is not None:
            stem, role = found
            groups[stem][role] = key
    return groups


def _role(key: str) -> tuple[str, str] | None:
    """The module's name in the file, and the tensor's role."""
    if match := _FACTOR.search(key):
        role = _FACTOR_ROLES[match[2]] + ("_bias" if match[4] == "bias" else "")
    elif match := _NUMBERED_FACTOR.search(key):
        role = _FACTOR_ROLES[match[1]]
    elif match := _MAGNITUDE.search(key):
        role = "magnitude"
    elif match := _LYCORIS.search(key):
        role = _NORM_ROLES.get(match[1], match[1])
    else:
        return None
    return key[: match.start()], role
