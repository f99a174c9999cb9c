"""What text encoders see of the texts of a job, whose ends may be cut off."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple


class TokenWindow(NamedTuple):
    """A text of a job, and how many tokens of it a text encoder sees."""

    field: str  # of the job
    text: str
    tokenizer: Any
    tokens: int  # with those that the tokenizer begins and ends it with
    closing: int = 1  # those of ``tokens`` that also end a text that is cut


class TemplateTokenizer:
    """Tells the tokens of texts within a template, as `TokenWindow` asks for them."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        self._tokenizer = tokenizer
        self._before, self._after = template.split("{}")

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        """``input_ids`` of the text alone, without what stands around it."""
        ids = self._ids(self._before + text + self._after, **options)
        return {"input_ids": ids[self.tokens_before : len(ids) - len(self._ids(self._after))]}

    @cached_property
    def tokens_before(self) -> int:
        """How many tokens of the template come before the text."""
        return len(self._ids(self._before))

    def decode(self, ids: list[int], **options: Any) -> str:
        """See the tokenizer."""
        decoded: str = self._tokenizer.decode(ids, **options)
        return decoded

    def _ids(self, text: str, **options: Any) -> list[int]:
        ids: list[int] = self._tokenizer(text, **options)["input_ids"]
        return ids


def truncation_warnings(windows: Iterable[TokenWindow]) -> list[str]:
    """A sentence for each text of which a text encoder does not see the end."""
    warnings: dict[str, None] = {}
    for field, text, tokenizer, tokens, closing in windows:
        ids = tokenizer(text, verbose=False)["input_ids"]
        if len(ids) > tokens:
            lost = tokenizer.decode(ids[tokens - closing :], skip_special_tokens=True)
            sentence = f"{field} has {len(ids)} tokens, the text encoder sees {tokens}; ignored: {lost!r}"
            warnings[sentence] = None
    return list(warnings)
