"""``LevelDict`` has the keys that a level may have, and a type checker finds a slip with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scrapy_mpworkers import LevelDict
from scrapy_mpworkers.settings.names import KEYS_OF_A_LEVEL

ROOT = Path(__file__).parents[1]

#: The types say more than the table has room for.
MORE_IN_THE_TYPE = {"pipelines", "key"}

#: Scrapy and what imports it need not be read: that alone would take a minute.
CONFIG = """
[mypy]
strict = true
follow_imports = skip

[mypy-scrapy_mpworkers,scrapy_mpworkers.errors,scrapy_mpworkers.levels]
follow_imports = silent
"""
GOOD = """
from scrapy_mpworkers import LevelDict

class Clean: ...

ALL = {"shop.pipelines.Store": 900}
MPWORKERS_LEVELS: list[LevelDict] = [
    {"name": "compute", "pipelines": {"shop.pipelines.Text": 300, Clean: None}, "workers": "auto"},
    {"name": "dedupe", "pipelines": {len: 400}, "key": lambda item: item["site"], "workers": 4},
    LevelDict(name="store", pipelines=ALL, batch_size=500, batch_seconds=1, wait=False),
]
"""


def test_a_level_dict_has_the_keys_of_a_level() -> None:
    assert LevelDict.__annotations__.keys() == KEYS_OF_A_LEVEL.keys()
    assert LevelDict.__required_keys__ == {"name"}


@pytest.mark.parametrize("key", sorted(KEYS_OF_A_LEVEL.keys() - MORE_IN_THE_TYPE))
def test_the_type_of_a_key_is_that_of_the_table(key: str) -> None:
    written = LevelDict.__annotations__[key].__forward_arg__

    assert set(alternatives(written)) == set(alternatives(KEYS_OF_A_LEVEL[key].type))


def alternatives(text: str) -> list[str]:
    return re.sub(r"Literal\[(.*?)\]", r"\1", text).replace("'", '"').split(" | ")


def test_at_run_time_a_level_dict_is_a_dict() -> None:
    assert LevelDict(name="store", wait=False) == {"name": "store", "wait": False}


def test_a_settings_module_that_names_it_brings_nothing_of_the_parent_into_a_worker() -> None:
    code = "import sys; from scrapy_mpworkers import LevelDict; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout

    ours = {name for name in loaded.split() if name.startswith("scrapy_mpworkers.")}
    assert ours == {"scrapy_mpworkers.errors", "scrapy_mpworkers.levels"}


def test_a_type_checker_accepts_levels_and_finds_a_slip_in_one(tmp_path: Path) -> None:
    slips = {
        "typo.py": GOOD.replace('"workers": 4', '"worker": 4'),
        "value.py": GOOD.replace('"workers": 4', '"workers": "4"'),
        "nameless.py": GOOD.replace('"name": "dedupe", ', ""),
        "order.py": GOOD.replace('Text": 300', 'Text": "300"'),
    }
    for name, text in {"good.py": GOOD, **slips}.items():
        (tmp_path / name).write_text(text)

    printed = mypy(tmp_path)

    found = {line.partition(":")[0] for line in printed if ": error:" in line}
    assert found == slips.keys(), "\n".join(printed)
    assert '"worker"' in next(line for line in printed if line.startswith("typo.py"))


def mypy(folder: Path) -> list[str]:
    (folder / "mypy.ini").write_text(CONFIG)
    command = [sys.executable, "-m", "mypy", *sorted(path.name for path in folder.glob("*.py"))]
    env = os.environ | {"MYPYPATH": str(ROOT)}  # not every form of an editable install is found
    ended = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert not ended.stderr, ended.stderr
    return ended.stdout.splitlines()
