"""Benchmarks: load on a running server, and models made for measuring. Not part of the installed package."""
