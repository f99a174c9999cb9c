"""Lua scripts that Redis runs: each is a file in the ``lua`` folder of the package that calls it."""

from importlib import resources


def read_lua(package: str, name: str) -> str:
    """The source of ``lua/NAME.lua`` in ``package``, a dotted name."""
    return resources.files(package).joinpath("lua", f"{name}.lua").read_text()
