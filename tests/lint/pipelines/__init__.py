"""Pipelines as public projects write them. They are read, never run: the libraries that they name
need not be installed."""
