"""What is wrong with a prompt, and where."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.errors import InvalidRequest


class PromptSyntaxError(ValueError):
    """A prompt that cannot be read by its syntax; ``position`` is the index of the character at fault."""

    def __init__(self, detail: str, position: int) -> None:
        super().__init__(detail)
        self.position = position


@contextmanager
def errors_of(field: str, locate: Callable[[int], int] = lambda position: position) -> Iterator[None]:
    """Raise errors of syntax within the block as `InvalidRequest` for ``field``; the first character is 1.

    ``locate`` finds the index in the field's text, if it is another than in the text that was read.
    """
    try:
        yield
    except PromptSyntaxError as error:
        place = locate(error.position) + 1
        raise InvalidRequest(f"{error} (at character {place})", field=field) from None
