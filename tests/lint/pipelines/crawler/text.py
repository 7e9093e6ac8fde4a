"""Functions of that package."""

from __future__ import annotations


def clean(text):
    return " ".join(text.split())


def signals(text):
    return text.count("!")
