"""The binding: libllama and libmtmd through ctypes, in three layers.

`structs`, `functions` and `mtmd_functions` declare, `manifest` and `abi` check a build against them, `library` loads it
and `library_log` listens to it; `model`, `decoder`, `chain`, `sampler`, `adapter` and `mtmd` own handles. Nothing else
in the package imports ctypes.
"""
