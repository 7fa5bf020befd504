"""A folder for compiled kernels."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def kernels(request, tmp_path_factory):
    """It stays from run to run where pytest keeps a cache."""
    cache = getattr(request.config, "cache", None)
    return Path(cache.mkdir("kernels")) if cache else tmp_path_factory.mktemp("kernels")
