"""The binding: libllama and libmtmd through ctypes, in three layers.

`structs`, `functions` and `mtmd_functions` declare, `library` loads and checks, `model`, `decoder`, `sampler`,
`adapter` and `mtmd` own handles. Nothing else in the package imports ctypes.
"""
