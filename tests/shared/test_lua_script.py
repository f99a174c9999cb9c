"""Names in the Lua scripts that Redis runs."""

from pathlib import Path

import pytest

from tests.lua_locals import hidden_locals

SCRIPTS = sorted(path for layer in ("api", "shared", "workers") for path in Path(layer).rglob("*.lua"))
CALL, HELD = Path("shared/lua/call.lua"), Path("shared/scheduling/lua/held.lua")
#: What scripts are put behind that call its functions.
BEFORE = {
    CALL: [],
    HELD: [CALL],
    Path("shared/jobs/lua/job.lua"): [CALL, HELD],
    Path("shared/scheduling/lua/schedule.lua"): [CALL, HELD],
}


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_no_local_of_a_script_hides_one_outside_of_its_block(script: Path) -> None:
    files = [*BEFORE.get(script, [CALL]), script]
    assert hidden_locals("\n".join(path.read_text() for path in files)) == []


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("local a = 1 if a then local a = 2 end", ["a"]),
        ("local a, b = 1, 2 for b = 1, 3 do a = b end", ["b"]),
        ("local a = 1 local function f(a, ...) return a end", ["a"]),
        ("local function f() end while f do local f = 1 end", ["f"]),
        ("local a = 1 if a then local b = a elseif a then local b = 2 else local b = 3 end", []),
        ("local a = 'local b' -- local a\nif a then local b, c = [[local a]] end local b = 1", []),
        ("local _, a = 1 for _, b in pairs(a) do local c = b end repeat local c = a until c", []),
    ],
)
def test_a_hidden_local_is_found(script: str, found: list[str]) -> None:
    assert hidden_locals(script) == found
