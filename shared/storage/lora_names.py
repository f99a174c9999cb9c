"""Names of LoRAs, and the keys of their objects in the LoRA bucket.

``NAME.safetensors`` is every tenant's; ``tenants/ID/NAME.safetensors`` is that tenant's alone, which it finds
before one of the same name that is everybody's.
"""

import re
import unicodedata

from shared.keys import LOCAL

SUFFIX = ".safetensors"
#: Prefixes of keys of unfinished uploads: the fleet's own, and SeaweedFS' of several parts.
STAGED, PARTS = "uploads/", ".uploads/"
#: What keys of LoRAs of one tenant alone begin with.
TENANTS = "tenants/"
#: Comes after all of these, also in a server that lists a folder's objects before others of its letters.
BEHIND_TENANTS = "tenants/~"
#: With the suffix of the LoRA cache a longer name would be too long for a file system.
MAX_NAME_BYTES = 128
_PUNCTUATION = frozenset(" .,_-+()[]")
#: Names are arguments of commands, and of files.
_NO_START = frozenset(" .-")
_RULE = "a name has letters, digits, spaces and . , _ - + ( ) [ ], and no space, dot or hyphen at its start"


def folder_of(tenant: str) -> str:
    """What the keys of a tenant's LoRAs begin with; those of `LOCAL` are public, at the top of the bucket."""
    return "" if tenant == LOCAL else f"{TENANTS}{tenant}/"


def owner_of(key: str) -> str | None:
    """The tenant whose alone the object of this key is; ``None``: it is in no tenant's folder."""
    found = re.match(rf"{TENANTS}([^/]+)/", key)
    return found[1] if found else None


def cut_suffix(name: str) -> str:
    """The name without the suffix of a file: ``style.safetensors`` is ``style``."""
    return name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) else name


def lora_name_error(name: str) -> str | None:
    """Why ``name`` cannot be a LoRA's name, in a sentence; None if it can."""
    if not name:
        return "the name is empty"
    if len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES:
        return f"the name is longer than {MAX_NAME_BYTES} bytes"
    odd = sorted({character for character in name if not _is_allowed(character)})
    if odd:
        return f"{', '.join(map(ascii, odd[:5]))} cannot be part of a name: {_RULE}"
    if name[0] in _NO_START or unicodedata.category(name[0])[0] == "M":
        return f"{name[0]!r} cannot begin a name: {_RULE}"
    if name[-1] == " ":
        return "a name does not end with a space"
    if name.lower().endswith(SUFFIX):
        return f"the name ends with {SUFFIX} twice"
    return None


def name_of_key(key: str) -> tuple[str, str | None]:
    """The LoRA that an object of the bucket is, and None; or its key, and why it is none.

    The key of a tenant's object is given without the tenant's folder.
    """
    name = cut_suffix(key)
    if name == key:
        return key, f"its key does not end with {SUFFIX}"
    if "/" in key:
        return key, "its key has a folder: LoRAs lie at the top of the bucket"
    problem = lora_name_error(name)
    return (name, None) if problem is None else (key, problem)


def _is_allowed(character: str) -> bool:
    """Letters with their marks, and digits, of any script; no control, format or private character."""
    return character in _PUNCTUATION or unicodedata.category(character)[0] in "LMN"
