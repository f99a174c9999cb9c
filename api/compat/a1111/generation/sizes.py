"""The size of a job that names none, or only one side."""

from api.compat.a1111.generation.images.resizing import Size
from api.services import Services


def size_of(width: int | None, height: int | None, model: str, services: Services) -> Size | None:
    """Width and height, from the catalog or the model's files where they are not named.

    ``None``: unknown, as of a model that has left the catalog.
    """
    if width and height:
        return width, height
    entry, own = services.catalog.models.get(model), services.families.default_size(model)
    width = width or (entry.width if entry else None) or (own[0] if own else None)
    height = height or (entry.height if entry else None) or (own[1] if own else None)
    return None if width is None or height is None else (width, height)
