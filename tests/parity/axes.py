"""The families of the parity matrix, and their axes: a new family is a file like `tests.parity.unets`."""

from tests.parity import transformers, unets
from tests.parity.family import Axes, Family

FAMILIES: dict[str, Family] = {**unets.FAMILIES, **transformers.FAMILIES}
#: Each once, in the order of their families.
AXES: list[Axes] = list({id(family.axes): family.axes for family in FAMILIES.values()}.values())
