"""What base models must know of the catalog's ControlNets, from their configs: nothing is loaded."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shared.catalog.controlnet_files import derive_config
from shared.catalog.entries import SINGLE_FILE, Catalog
from shared.errors import CatalogGone, ControlNetFailed
from shared.families.base import Config
from shared.families.controlnets import ControlPlan
from shared.settings import Settings
from workers.families.base import BaseModel
from workers.families.load_controlnet import read_config
from workers.model_checks.weight_files import Unloadable, read_header
from workers.runtime.weights.source import find_source

#: The config of a ControlNet by its name in the catalog; raises `ControlNetFailed` if it cannot be known.
ReadConfig = Callable[[str], Config]


def config_reader(catalog: Catalog, settings: Settings) -> ReadConfig:
    """Reads the configs of ``catalog``: from folders, or from the hub."""

    def read(name: str) -> Config:
        entry = catalog.controlnets.get(name)
        if entry is None:
            raise CatalogGone("controlnet", name)
        source = entry.config or entry.source
        if source.endswith(SINGLE_FILE):
            file = Path(find_source(settings.catalog, source))
            try:
                config = derive_config(read_header(file.parent, file).tensors)
            except (OSError, Unloadable) as error:
                raise ControlNetFailed(
                    f"the config of ControlNet {name!r} cannot be read: {error}"
                ) from error
            if config is not None:
                return config
            raise ControlNetFailed(
                f"ControlNet {name!r} is a single file, which does not tell its layers: its catalog"
                " key config must name a folder with its config.json"
            )
        try:
            return read_config(find_source(settings.catalog, source))
        except (OSError, ValueError) as error:
            raise ControlNetFailed(f"the config of ControlNet {name!r} cannot be read: {error}") from error

    return read


def _unknown(name: str) -> Config:
    raise ControlNetFailed(f"no catalog says what ControlNet {name!r} is")


class ControlNetConfigs:
    """The configs of ControlNets, and where a base model that is loaded adds their residuals."""

    def __init__(self, read: ReadConfig = _unknown, first_bases: Mapping[str, str] | None = None) -> None:
        """``first_bases``: by ControlNet, the first base model of its catalog entry."""
        self._read = read
        self._first_bases = first_bases or {}
        self._configs: dict[str, Config] = {}

    def is_first_base(self, controlnet: str, model: str) -> bool:
        """Whether a base model is the one of which workers load layers with a ControlNet that needs some."""
        return self._first_bases.get(controlnet, model) == model

    def plan(self, controlnets: Sequence[str], model: BaseModel) -> ControlPlan:
        """Where ``model`` adds the residuals of ``controlnets``, which are summed, so they must be alike.

        Raises `ControlNetFailed`: the web could not always know it.
        """
        facts, first = model.facts, controlnets[0]
        traits = {name: facts.controlnet_traits(self.config(name, model)) for name in controlnets}
        for name, other in traits.items():
            if (other.layout, other.residuals) != (traits[first].layout, traits[first].residuals):
                given = f"{other.layout}, {first!r} {traits[first].layout}"
                raise ControlNetFailed(f"ControlNet {name!r} gives {given}: one job cannot have both")
        return facts.control_plan(self.config(first, model), model.denoiser_config)

    def config(self, controlnet: str, model: BaseModel) -> Config:
        """The config; where all ControlNets of the family are alike, the base model's describes them.

        Raises `ControlNetFailed`.
        """
        if not model.facts.controlnet_layouts_vary:
            return model.denoiser_config
        if controlnet not in self._configs:
            self._configs[controlnet] = self._read(controlnet)
        return self._configs[controlnet]
