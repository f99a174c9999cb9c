"""``pytest tests/parity --parity=full`` generates the whole matrix, else a sample; both write a table.

``--every=N`` takes each N-th row of it, for a machine that has not got the hours.
"""

from collections.abc import Iterator

import pytest

from shared.settings import Settings
from tests.parity import matrix
from tests.parity.report import write_report
from tests.parity.world import World, make_world


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--parity", choices=("sample", "full"), default="sample")
    parser.addoption("--every", type=int, default=1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "row" in metafunc.fixturenames:
        is_full = metafunc.config.getoption("--parity", "sample") == "full"
        rows = matrix.full() if is_full else matrix.sample()
        metafunc.parametrize("row", rows[:: metafunc.config.getoption("--every", 1)], ids=str)


@pytest.fixture(scope="module")  # its ControlNet server reads the queues of a Redis that later tests use
def world(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with make_world(servers, tmp_path_factory.mktemp("parity")) as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    write_report(terminalreporter)
