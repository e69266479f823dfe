"""Devices: what libllama computes on, in words."""

from __future__ import annotations

import pytest

from llamahttp.binding import devices, library


def test_devices_are_listed() -> None:
    names = [name for name, _description, _kind in devices.devices()]
    assert "CPU" in names


@pytest.mark.parametrize(
    ("manifest", "words"),
    [({"cuda": False}, "CPU"), ({"cuda": ["80"]}, "CPU, since this build for CUDA finds no GPU here")],
)
def test_a_build_for_cuda_says_when_it_computes_on_the_cpu(manifest: dict[str, object], words: str) -> None:
    if devices.gpus():
        pytest.skip("there is a GPU here")
    lib = library.load()
    before, lib.manifest = lib.manifest, lib.manifest | manifest
    try:
        assert devices.describe_compute(-1) == words
    finally:
        lib.manifest = before
