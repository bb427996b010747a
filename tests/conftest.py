"""Fixtures that more than one room of tests needs."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as records.quiet does
os.environ.setdefault("MPLBACKEND", "Agg")
# How long an example takes says more of the machine than of the code; a test has a timeout.
hypothesis.settings.register_profile("nioscope", deadline=None)
hypothesis.settings.load_profile("nioscope")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real pictures (`NIOSCOPE_DATA`, or `../shared/data` beside the checkout)."""
    folder = Path(os.environ.get("NIOSCOPE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real pictures are not at {folder}; NIOSCOPE_DATA names another place")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real",
        action="store_true",
        help="also train on the real pictures (some 20 minutes), and look at all of them",
    )


@pytest.fixture(scope="session")
def long_real_data(request: pytest.FixtureRequest, real_data: Path) -> Path:
    """As `real_data`, for checks that train at full size or look at all pictures again."""
    if not request.config.getoption("--real"):
        pytest.skip("takes minutes, all real pictures; give --real")
    return real_data
