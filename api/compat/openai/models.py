"""Which model of the catalog a client's model name means."""

import re
from collections.abc import Sequence

from shared.catalog.entries import Catalog
from shared.errors import InvalidRequest, InvalidSetting
from shared.validation_messages import did_you_mean

#: Names of OpenAI's own models, which clients have built in.
_OPENAI = re.compile(r"(chatgpt|gpt)-image-.+|gpt-image|dall-e-\d+", re.IGNORECASE)


class UnknownModel(InvalidRequest):
    """The request names a model that is neither in the catalog nor stands for one of it."""

    code = "model_not_found"


class ModelNames:
    """The catalog's names, those that ``pairs`` (``NAME=MODEL``) add, and OpenAI's for the default model."""

    def __init__(self, catalog: Catalog, pairs: Sequence[str]) -> None:
        """Raises `InvalidSetting` for a pair whose model is not in the catalog."""
        self._models, self._default = catalog.models, catalog.default_model
        self._others = dict(pair.split("=", 1) for pair in pairs)
        for name, model in self._others.items():
            if model not in self._models:
                meant = did_you_mean(model, self._models) or f"; there are {', '.join(self._models)}"
                raise InvalidSetting(
                    f"SWIFT_OPENAI_MODELS: {name}={model}: no such model in the catalog{meant}"
                )

    def find(self, name: str | None) -> tuple[str, str]:
        """The model, and a warning where it is not the one that was named; raises `UnknownModel`."""
        if name is None:
            return self._default, ""
        if name in self._models:
            return name, ""
        meant = self._others.get(name, self._default if _OPENAI.fullmatch(name) else None)
        if meant is None:
            known = ", ".join([*self._models, *self._others])
            raise UnknownModel(f"there is no model {name!r}; known are {known}", field="model")
        return meant, f"model {name} is served by {meant}"
