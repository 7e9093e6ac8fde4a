"""Makes the docs' tables of settings of the code's: ``python -m tests.settings_table``.

Each stands between two comments, which say what makes it; all else in the files stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from scrapy_mpworkers.backends.dask.backend import DaskBackend
from scrapy_mpworkers.settings.names import OF_A_LEVEL, OF_A_POOL, OWN
from scrapy_mpworkers.settings.setting import Setting
from scrapy_mpworkers.settings.table import LEVEL_NAME

DOCS = Path(__file__).parents[1] / "docs"
COMMAND = "python -m tests.settings_table"
BEGIN, END = f"<!-- Made by {COMMAND} -->\n", f"<!-- End of what {COMMAND} makes -->\n"
BAR = r"\|"
#: Whatever other backends are installed.
DOCUMENTED = (*OWN, *DaskBackend.settings)


def of_the_crawl() -> Iterator[str]:
    """Yield the table of all settings, line by line."""
    yield from _head("setting")
    for setting in DOCUMENTED:
        yield _line(f"`{setting.title}`", f"`{_literal(setting.default)}`", setting)


def of_a_level() -> Iterator[str]:
    """Yield the table of what a level may say; its pool's settings are in the other table."""
    yield from _head("in a level")
    yield _line(f"`{LEVEL_NAME.key}`", "", LEVEL_NAME)
    for setting in OF_A_LEVEL.values():
        yield _line(f"`{setting.key}`", f"`{_literal(setting.default)}`", setting)
    keys = ", ".join(f"`{setting.key}`" for setting in OF_A_POOL.values())
    yield f"| any setting of a pool | | the crawl's | As the crawl's, in lower case: {keys}. |"


TABLES: dict[str, Callable[[], Iterable[str]]] = {
    "reference.md": of_the_crawl,
    "levels.md": of_a_level,
}


def renewed(name: str, text: str) -> str:
    """Return the text of the file *name* with the table as the code has it."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    table = "\n".join(TABLES[name]())
    table = table.replace(f"]({name}#", "](#")  # as people write it
    return f"{before}{BEGIN}\n{table}\n\n{END}{after}"


def _head(what: str) -> Iterator[str]:
    yield f"| {what} | type | default | meaning |"
    yield "|---|---|---|---|"


def _line(name: str, default: str, setting: Setting) -> str:
    cells = name, f"`{setting.type}`", default, setting.meaning
    # A bar ends a cell, also in code.
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"


def _literal(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    for name in TABLES:
        file = DOCS / name
        file.write_text(renewed(name, file.read_text("utf-8")), "utf-8")
