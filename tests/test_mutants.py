"""The mutants are the small mistakes that they should be, and a process that takes one over runs it."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import mutants

SOURCE = """
import functools
LEAST = 2

def longer(words: int, least: int = LEAST) -> "bool | int":
    \"\"\"More than 3.\"\"\"
    if words and not least:
        raise ValueError(f"{words + 1} words")
    return words + 1 > least

class Box:
    @property
    def size(self):
        return max(self.sizes)

    @functools.cached_property
    def sizes(self):
        return [3, 4]

    @classmethod
    def of(cls):
        return 1 if cls.kind() == "é" else 5

    @staticmethod
    def kind():
        return "é"

    @functools.lru_cache(maxsize=3)
    def kept(self):
        return 6
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The source, in place of the repository."""
    (tmp_path / "made.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    return "made.py"


def test_each_mutant_changes_one_thing(file):
    found = [(m.function, *m.lines()) for m in mutants.mutants_of(file) if m.function in ("", "longer", "Box.of")]

    of = 'return 1 if cls.kind() == "é" else 5'
    assert sorted(found) == sorted(
        [
            ("", "LEAST = 2", "LEAST = 3"),
            ("longer", "if words and not least:", "if (words or not least):"),
            ("longer", "if words and not least:", "if (not (words and (not least))):"),
            ("longer", "if words and not least:", "if words and (least):"),
            ("longer", "return words + 1 > least", "return words + 1 >= least"),
            ("longer", "return words + 1 > least", "return words + 1 <= least"),
            ("longer", "return words + 1 > least", "return (words - 1) > least"),
            ("longer", "return words + 1 > least", "return words + 2 > least"),
            ("longer", "return words + 1 > least", "return words + 0 > least"),
            ("Box.of", of, 'return 2 if cls.kind() == "é" else 5'),
            ("Box.of", of, 'return 0 if cls.kind() == "é" else 5'),
            ("Box.of", of, "return 1 if cls.kind() != 'é' else 5"),
            ("Box.of", of, 'return 1 if cls.kind() == "é" else 6'),
        ]
    )
    assert {m.function for m in mutants.mutants_of(file, ["Box"])} == {"Box.size", "Box.sizes", "Box.of", "Box.kept"}


def module(text: bytes | str) -> ModuleType:
    made = ModuleType("made")
    exec(compile(text, "made.py", "exec"), vars(made))
    return made


@pytest.mark.parametrize(
    ("after", "ask"),
    [
        ("LEAST = 3", lambda m, box: m.LEAST == 3),
        ("return words + 1 >= least", lambda m, box: m.longer(1, 2)),
        ("return min(self.sizes)", lambda m, box: box.size == 3),
        ("return [4, 4]", lambda m, box: box.sizes == [4, 4]),
        ('return 2 if cls.kind() == "é" else 5', lambda m, box: m.Box.of() == 2),
        ("return 7", lambda m, box: box.kept() == 7),
    ],
)
def test_whoever_has_a_function_or_class_runs_its_mutant(file, after, ask):
    old = module(SOURCE)
    box = old.Box()
    assert not ask(old, old.Box())
    (mutant,) = [m for m in mutants.mutants_of(file) if m.lines()[1] == after]
    mutants.graft(old, module(mutant.text()))
    old.Box.kept.cache_clear()
    assert ask(old, box)


def test_what_cannot_be_noticed_is_still_there_and_has_a_reason():
    made = {mutant.key for file, (only, _) in mutants.TARGETS.items() for mutant in mutants.mutants_of(file, only)}
    known = mutants.equivalents()
    assert [key for key in known if key not in made] == []
    assert all(reason.strip() for reason in known.values())


@pytest.mark.slow
def test_mutants_are_noticed():
    command = [sys.executable, mutants.__file__, "--only", "layers_finener.py", "--minutes", "0.2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    _, _, _, tried, noticed = done.stdout.splitlines()[-1].split()
    assert (done.returncode, tried) == (0, noticed) and int(tried) > 0, done.stdout + done.stderr
