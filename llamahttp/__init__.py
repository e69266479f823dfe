"""llama.cpp's llama-server in Python: libllama through ctypes, aiohttp in front, one process."""

__version__ = "0.1.0"
