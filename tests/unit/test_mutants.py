"""The list of mutants, and what counts as killing one."""

from __future__ import annotations

import ast
import shutil

import pytest

from tests import mutants
from tests.mutants import MUTANTS, ROOT, Outcome, attempts, files_of_tests, judge, mutated, remembered, run


@pytest.mark.parametrize("name", MUTANTS)
def test_the_line_of_a_mutant_occurs_once_and_its_mistake_is_another_program(name):
    file, old, new = MUTANTS[name]
    text = (ROOT / "skcert" / file).read_text()
    wrong = mutated(text, old, new)
    if file.endswith(".py"):
        assert ast.dump(ast.parse(wrong)) != ast.dump(ast.parse(text))
    assert wrong != text


@pytest.mark.parametrize("text", ["", "a = 1\nb = 1\n"])
def test_a_line_that_does_not_occur_once_is_an_error(text):
    with pytest.raises(ValueError, match=f"occurs {text.count('= 1')} times"):
        mutated(text, "= 1", "= 2")


def test_what_is_remembered_are_tests_that_are_there():
    for name, killer in remembered().items():
        assert name in MUTANTS and (ROOT / killer.split("::")[0]).is_file()


def test_attempts_start_with_what_killed_before_and_end_with_every_file():
    of_file = [name for name in MUTANTS if MUTANTS[name][0] == "routes.py"]
    files = [f"tests/test_{n}.py" for n in range(20)]
    killers = {
        of_file[0]: "tests/test_7.py::own",
        of_file[1]: "tests/test_9.py::near",
        "drop log det from the score": "tests/test_5.py::far",
    }
    first, second, *rest = attempts(of_file[0], killers, files)
    assert first == ["tests/test_7.py::own"] and second == ["tests/test_7.py::own", "tests/test_9.py::near"]
    tried = sum(rest, [])
    assert tried[:3] == ["tests/test_7.py", "tests/test_9.py", "tests/test_5.py"] and sorted(tried) == sorted(files)
    assert sorted(sum(attempts(of_file[0], {}, files), [])) == sorted(files)


def test_every_file_of_tests_is_tried_but_this_one_which_fails_on_every_mutant():
    files = files_of_tests(ROOT)
    assert "tests/unit/test_routes.py" in files and "skcert" in files and "tests/unit/test_mutants.py" not in files


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one module, one mutant, and the tests that a test writes."""
    copy = tmp_path / "project"
    for folder in ("skcert", "tests"):
        (copy / folder).mkdir(parents=True)
        (copy / folder / "__init__.py").touch()
    shutil.copy(ROOT / "tests" / "first_failure.py", copy / "tests")
    (copy / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (copy / "skcert" / "sums.py").write_text("def double(x):\n    return x + x\n")
    monkeypatch.setattr(mutants, "MUTANTS", {"m": ("sums.py", "x + x", "x * x")})
    return copy


def judged(project, **tests):
    for name, code in tests.items():
        (project / "tests" / f"test_{name}.py").write_text(f"from skcert.sums import double\n{code}\n")
    outcome = judge("m", {}, project)
    assert (project / "skcert" / "sums.py").read_text() == "def double(x):\n    return x + x\n"
    return outcome


def test_a_test_that_fails_kills(project):
    found = judged(project, good="def test_two(): assert double(2) == 4", bad="def test_three(): assert double(3) == 6")
    assert found == Outcome(failed="tests/test_bad.py::test_three")
    assert run(["tests/test_bad.py::test_three"], project) == Outcome()


def test_a_setup_that_fails_kills(project):
    fixture = "import pytest\n@pytest.fixture\ndef six(): assert double(3) == 6\ndef test_six(six): pass"
    assert judged(project, bad=fixture).failed == "tests/test_bad.py::test_six"


def test_what_passes_every_test_survives(project):
    assert judged(project, good="def test_two(): assert double(2) == 4") == Outcome(trouble="all tests pass on it")


def test_what_cannot_be_imported_is_not_killed(project, monkeypatch):
    monkeypatch.setattr(mutants, "MUTANTS", {"m": ("sums.py", "def double", "def doubled")})
    found = judged(project, bad="def test_three(): assert double(3) == 6")
    assert found.failed is None and "test_bad.py" in found.trouble


def test_a_file_that_cannot_be_imported_hides_no_other(project):
    found = judged(project, bad="assert double(3) == 6", good="def test_three(): assert double(3) == 6")
    assert found == Outcome(failed="tests/test_good.py::test_three")


def test_a_test_that_is_no_longer_there_is_not_the_last_word(project):
    (project / "tests" / "test_bad.py").write_text("from skcert.sums import double\ndef test_three(): assert double(3) == 6\n")
    assert judge("m", {"m": "tests/test_bad.py::test_old_name"}, project).failed == "tests/test_bad.py::test_three"
