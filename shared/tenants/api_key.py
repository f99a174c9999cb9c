"""API keys: ``swk_ID_SECRETCHECKSUM``, of letters and digits.

The id is public: it names the key in lists and logs, and finds it in the store. The secret is 190 bits of a
random generator, so that its plain sha256 can be stored: nobody guesses what it is of. By the checksum a
cut or mistyped key is told from a wrong one without asking the store, and leaked keys are found in texts.
"""

import hashlib
import re
import secrets
import string
import zlib
from typing import NamedTuple, Self

PREFIX = "swk"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_CHARS, SECRET_CHARS, CHECKSUM_CHARS = 12, 32, 6
FORM = f"{PREFIX}_ID_SECRET"
_KEY = re.compile(rf"{PREFIX}_([0-9A-Za-z]{{{ID_CHARS}}})_([0-9A-Za-z]{{{SECRET_CHARS}}})([0-9A-Za-z]{{6}})")


class ApiKey(NamedTuple):
    """A whole key, which only its owner knows."""

    id: str
    secret: str

    @classmethod
    def random(cls) -> Self:
        """A new key."""
        return cls(_random_text(ID_CHARS), _random_text(SECRET_CHARS))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that ``text`` is; raises `ValueError`, which quotes nothing of it."""
        found = _KEY.fullmatch(text)
        if found is None:
            raise ValueError(f"is not of the form {FORM}")
        key = cls(found[1], found[2])
        if found[3] != key.checksum:
            raise ValueError("has a wrong checksum: a part is missing or mistyped")
        return key

    @property
    def checksum(self) -> str:
        """CRC-32 of what comes before it, in the alphabet's base 62."""
        number, digits = zlib.crc32(f"{PREFIX}_{self.id}_{self.secret}".encode()), ""
        for _ in range(CHECKSUM_CHARS):
            number, digit = divmod(number, len(ALPHABET))
            digits = ALPHABET[digit] + digits
        return digits

    @property
    def sha256(self) -> str:
        """What is stored of the key."""
        return hashlib.sha256(str(self).encode()).hexdigest()

    def __str__(self) -> str:
        return f"{PREFIX}_{self.id}_{self.secret}{self.checksum}"

    def __repr__(self) -> str:
        """Without the secret: it stands in tracebacks and logs."""
        return f"ApiKey({self.id!r})"


def check_api_key(text: str) -> str:
    """``text`` if it is a key; raises `ValueError` with a clause that follows "NAME: it"."""
    return str(ApiKey.parse(text))


def _random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
