"""A plugin of pytest for ``tests.mutants``: it stops at the first test that fails and writes down which one that is.

Unlike ``-x`` it does not stop at files that cannot be imported.
"""

import os
from pathlib import Path


def pytest_runtest_logreport(report):
    path = Path(os.environ["FIRST_FAILURE"])
    if report.failed and not path.exists():
        path.write_text(report.nodeid)


def pytest_runtest_teardown(item):
    if Path(os.environ["FIRST_FAILURE"]).exists():
        item.session.shouldstop = "a test failed"
