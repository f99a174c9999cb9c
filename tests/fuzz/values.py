"""Random JSON, and JSON that is right but for a few places."""

import copy
from typing import Any

from hypothesis import strategies as st

#: Numbers and texts that programs stumble over.
_ODD = [
    None, True, False, 0, -1, 1, 7.0, 1e-320, 1e308, float("inf"), float("nan"), 2**31, 2**63, 10**400,
    "", "0", "true", "\0", "\ud800", "\u202e", "x" * 300, "x" * 11_000, "{x}", "%s", "../../x", "a\nb",
    [], {}, [[]], {"": {}}, [None],
    "sha256:" + "0" * 64, "data:image/png;base64,", "https://example.com/x.png",
]  # fmt: skip
#: Names that are no fields of their parts.
_NAMES = st.text(max_size=20) | st.sampled_from(["steps", "weight", "num_images_per_prompt", "\ud800"])
_SCALARS = st.one_of(
    st.sampled_from(_ODD), st.integers(), st.floats(), st.text(max_size=20), st.booleans(), st.none()
)
#: Values of JSON as Python reads it, NaN and infinity with it.
JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


def change(body: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """A copy of ``body`` with up to three values replaced, taken out, repeated or put in."""
    changed = copy.deepcopy(body)
    for _ in range(data.draw(st.integers(1, 3))):
        _change_one(changed, data)
    return changed


def _change_one(body: dict[str, Any], data: st.DataObject) -> None:
    places = list(_places(body))
    if not places:
        return
    parent, key = data.draw(st.sampled_from(places))
    how = data.draw(st.sampled_from(["replace", "replace", "take out", "put in", "repeat"]))
    if how == "replace":
        parent[key] = data.draw(JSON)
    elif how == "take out":
        del parent[key]
    elif how == "put in" and isinstance(parent, dict):
        parent[
            data.draw(st.text(max_size=20) | st.sampled_from(["steps", "weight", "num_images_per_prompt"]))
        ] = 3
    elif isinstance(parent[key], list):
        parent[key] = parent[key] * data.draw(st.integers(0, 2_000))


def _places(value: Any) -> Any:
    """Each container within ``value``, with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)
