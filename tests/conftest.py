"""Fixtures that more than one room of tests needs."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as records.quiet does
os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" in os.environ:
    # There are as many processes as cores: further threads only wait for one another, busily.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, "1")
# How long an example takes says more of the machine than of the code; a test has a timeout.
IS_LONG = "NIOSCOPE_LONG" in os.environ
hypothesis.settings.register_profile("nioscope", deadline=None, max_examples=300 if IS_LONG else 50)
hypothesis.settings.load_profile("nioscope")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real pictures (`NIOSCOPE_DATA`, or `../shared/data` beside the checkout)."""
    folder = Path(os.environ.get("NIOSCOPE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real pictures are not at {folder}; NIOSCOPE_DATA names another place")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what repeats at length what a shorter test shows; `.ci/run` runs it."""
    if not IS_LONG:
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip("takes long; NIOSCOPE_LONG=1 runs it"))


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
