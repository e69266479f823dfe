"""The binding: libllama through ctypes, in three layers.

`structs` and `functions` declare, `library` loads and checks, `model`, `decoder` and `sampler` own handles. Nothing
else in the package imports ctypes.
"""
