"""A module of cases is what a user's module is: spiders, items and pipelines."""
