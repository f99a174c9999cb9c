"""The requests of a run, by its mode."""

from collections.abc import Mapping

from infra.chaos.recipes.embedded import MIXED, SATURATED, SHORT, Recipe
from infra.chaos.recipes.mixed_catalog import MIXED_CATALOG

#: Models of every architecture, in less memory than they need.
MIXED_MODE = "mixed catalog"
RECIPES: Mapping[str, tuple[Recipe, ...]] = {
    "mixed": MIXED,
    "short": SHORT,
    "saturated": SATURATED,
    MIXED_MODE: MIXED_CATALOG,
}
