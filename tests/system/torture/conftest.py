from pool.conftest import (  # noqa: F401 - fixtures
    ignored,
    kept_by_multiprocessing,
    make_bench,
    reaper,
    start_script,
)
