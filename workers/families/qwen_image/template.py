"""The chat template within which Qwen-Image's language model reads a text."""

from typing import Any


class TemplateTokenizer:
    """Tells the tokens of texts within a template, as `TokenWindow` asks for them."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        self._tokenizer, self._template = tokenizer, template

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        """``input_ids`` of the text alone, without what stands around it."""
        before, after = self._template.split("{}")
        ids = self._ids(before + text + after, **options)
        return {
            "input_ids": ids[len(self._ids(before, **options)) : len(ids) - len(self._ids(after, **options))]
        }

    def decode(self, ids: list[int], **options: Any) -> str:
        """See the tokenizer."""
        decoded: str = self._tokenizer.decode(ids, **options)
        return decoded

    def _ids(self, text: str, **options: Any) -> list[int]:
        ids: list[int] = self._tokenizer(text, **options)["input_ids"]
        return ids
