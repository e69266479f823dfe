"""The manifest of a finished library: what was built, from what, how and for which CPU.

Run by build_lib.sh as a plain file; needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path

FORMAT = 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--abi", type=Path, required=True, help="JSON file that the probe printed")
    parser.add_argument("--version", required=True)
    parser.add_argument("--build", type=int, default=None, help="llama.cpp build number, where a tag names one")
    parser.add_argument("--commit", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--cpu-model", required=True)
    parser.add_argument("--cpu-fingerprint", required=True)
    parser.add_argument("--portable", action="store_true")
    parser.add_argument("--amx-disabled", action="store_true")
    parser.add_argument("--backend-dl", action="store_true", help="backends are loaded at run time")
    parser.add_argument("--cuda-arch", default="", help="CUDA architectures, separated by ';'; empty without CUDA")
    parser.add_argument("flags", nargs="*", help="what cmake was given")
    return parser.parse_args()


def manifest(options: argparse.Namespace) -> dict[str, object]:
    """Return the manifest as JSON-ready values; `built` is UTC in ISO format."""
    return {
        "format": FORMAT,
        "llama_cpp": {
            "version": options.version,
            "build": options.build,
            "commit": options.commit,
            "source": options.source,
        },
        "flags": options.flags,
        "cuda": options.cuda_arch.split(";") if options.cuda_arch else False,
        "portable": options.portable,
        "backend_dl": options.backend_dl,
        "compiler": options.compiler,
        "cpu": {"model": options.cpu_model, "fingerprint": options.cpu_fingerprint},
        "amx_disabled": options.amx_disabled,
        "built": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "abi": json.loads(options.abi.read_text()),
    }


if __name__ == "__main__":
    print(json.dumps(manifest(parse_arguments()), indent=2))
