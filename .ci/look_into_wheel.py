"""Expects in a wheel what users need, and nothing else: ``look_into_wheel.py WHEEL``."""

import sys
from pathlib import Path
from zipfile import ZipFile

PACKAGE = Path(__file__).parents[1] / "scrapy_mpworkers"

with ZipFile(sys.argv[1]) as wheel:
    names = set(wheel.namelist())
here = {
    str(path.relative_to(PACKAGE.parent))
    for path in PACKAGE.rglob("*")
    if path.is_file() and path.suffix != ".pyc"
}
packaged = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
assert packaged == here, f"missing: {here - packaged}; too much: {packaged - here}"
assert any(name.endswith("/licenses/LICENSE") for name in names), names
assert "scrapy_mpworkers/py.typed" in packaged
print(f"{len(packaged)} files in {Path(sys.argv[1]).name}")
