"""Thread pools: on which CPUs a context's threads run, with which priority, and how eagerly they wait for work."""

from __future__ import annotations

import ctypes as c
from dataclasses import replace
from typing import Any

from ..config import ComputeConfig, CpuConfig
from ..errors import StartupError
from .functions import CONSTANTS
from .structs import ThreadPoolParams

POLL = 50
"""ggml's own level."""

ANY = CpuConfig()

NEW = c.CFUNCTYPE(c.c_void_p, c.POINTER(ThreadPoolParams))
FREE = c.CFUNCTYPE(None, c.c_void_p)
"""ggml_threadpool_new and ggml_threadpool_free, which belong to whichever CPU backend is loaded."""


class ThreadPools:
    """The pools of one context, which must be freed first. Without wishes there are none: ggml makes its own.

    Raises StartupError if they cannot be made.
    """

    def __init__(self, lib: Any, compute: ComputeConfig, n_threads: int, n_threads_batch: int) -> None:
        self._lib = lib
        self._pools: list[int] = []
        if compute.cpu == compute.cpu_batch == ANY:
            return
        self._free = FREE(self._address("ggml_threadpool_free"))
        try:
            self._make(_params(compute.cpu, n_threads))
            self._make(_params(inherited(compute.cpu_batch, compute.cpu), n_threads_batch))
        except BaseException:
            self.close()
            raise

    def _make(self, params: ThreadPoolParams) -> None:
        pool = NEW(self._address("ggml_threadpool_new"))(c.byref(params))
        if not pool:
            raise StartupError(f"cannot make a pool of {params.n_threads} threads as the --cpu flags say")
        self._pools.append(pool)

    def _address(self, name: str) -> int:
        lib = self._lib
        device = lib.ggml_backend_dev_by_type(CONSTANTS["GGML_BACKEND_DEVICE_TYPE_CPU"])
        registry = lib.ggml_backend_dev_backend_reg(device)
        address: int | None = lib.ggml_backend_reg_get_proc_address(registry, name.encode())
        if not address:
            raise StartupError(f"this build of libllama has no {name}, which the --cpu flags need")
        return address

    def attach(self, context: int) -> None:
        if self._pools:
            self._lib.llama_attach_threadpool(context, *self._pools)

    def close(self) -> None:
        """Safe twice."""
        while self._pools:
            self._free(self._pools.pop())


def inherited(batch: CpuConfig, cpu: CpuConfig) -> CpuConfig:
    """`batch`, and where it says nothing `cpu`."""
    given = {name: getattr(batch, name) for name in CpuConfig.__slots__}
    return replace(cpu, **{name: value for name, value in given.items() if value is not None})


def _params(cpu: CpuConfig, n_threads: int) -> ThreadPoolParams:
    params = ThreadPoolParams(
        n_threads=n_threads,
        prio=cpu.priority or 0,
        poll=POLL if cpu.poll is None else cpu.poll,
        strict_cpu=bool(cpu.is_strict),
        paused=False,
    )
    for index in cpu.cpus or ():
        params.cpumask[index] = True
    return params
