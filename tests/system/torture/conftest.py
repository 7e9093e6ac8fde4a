from pool.conftest import kept_by_multiprocessing, make_bench, start_script  # noqa: F401 - fixtures
