"""``pytest tests/fuzz --fuzz-examples=N``: N random inputs for each property, the same ones in every run."""

import hypothesis
import pytest
from hypothesis import HealthCheck

# The web over real servers; what it answers must be in its document here, too.
from tests.api.conftest import (  # noqa: F401
    app,
    client,
    connected,
    every_answer_is_documented,
    keyed,
    keyed_app,
    keyed_client,
    services,
    undocumented,
)

#: Of each property in ``make test``; ``make fuzz`` asks for more.
EXAMPLES = 100


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-examples", type=int, default=EXAMPLES, metavar="N")


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.register_profile(
        "fuzz",
        max_examples=config.getoption("--fuzz-examples", EXAMPLES),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    hypothesis.settings.load_profile("fuzz")
