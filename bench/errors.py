"""What stops a benchmark, as one error whose text is meant for the person at the terminal."""

from __future__ import annotations


class BenchError(Exception):
    """A run that cannot go on: a bad argument, a server that does not start or has died."""
