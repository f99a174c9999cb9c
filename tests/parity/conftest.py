"""``pytest tests/parity --parity=full`` draws the whole matrix; else a sample. Both write a table."""

from collections.abc import Iterator

import pytest

from shared.settings import Settings
from tests.parity import matrix
from tests.parity.report import write_report
from tests.parity.world import World, make_world


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--parity", choices=("sample", "full"), default="sample")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "row" in metafunc.fixturenames:
        is_full = metafunc.config.getoption("--parity", "sample") == "full"
        rows = matrix.full() if is_full else matrix.sample()
        metafunc.parametrize("row", rows, ids=str)


@pytest.fixture(scope="session")
def world(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with make_world(servers, tmp_path_factory.mktemp("parity")) as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    write_report(terminalreporter)
