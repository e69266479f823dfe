"""A peer's server behind llama-server's flags. Runs in the peer's own environment, where there is no `bench`."""

from __future__ import annotations

import argparse
import os
import signal
import threading


def serve_xllamacpp(args: argparse.Namespace) -> None:
    import xllamacpp  # type: ignore[import-not-found]

    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.hostnames, params.port = [args.host], args.port
    params.n_parallel, params.n_ctx = args.parallel, args.ctx_size
    if args.threads:
        params.cpuparams.n_threads = args.threads
    server = xllamacpp.Server(params)  # which listens, on threads of its own
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
    stopped.wait()
    os._exit(0 if server is not None else 1)  # its end may wait for kept connections


def serve_llama_cpp_python(args: argparse.Namespace) -> None:
    import uvicorn  # type: ignore[import-not-found]
    from llama_cpp.server.app import create_app  # type: ignore[import-not-found]
    from llama_cpp.server.settings import ModelSettings, ServerSettings  # type: ignore[import-not-found]

    threads = {"n_threads": args.threads} if args.threads else {}
    # It computes one request at a time, so that all of the context is that one's.
    model = ModelSettings(model=args.model, n_ctx=args.ctx_size // args.parallel, verbose=False, **threads)
    settings = ServerSettings(host=args.host, port=args.port, interrupt_requests=False)
    app = create_app(server_settings=settings, model_settings=[model])
    app.add_api_route("/health", lambda: {"status": "ok"})
    uvicorn.run(app, host=args.host, port=args.port, log_level="error")


SERVE = {"xllamacpp": serve_xllamacpp, "llama-cpp-python": serve_llama_cpp_python}


def main() -> None:
    parser = argparse.ArgumentParser(description="A peer's server behind some of llama-server's flags.")
    parser.add_argument("peer", choices=SERVE)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-np", "--parallel", type=int, default=4)
    parser.add_argument("-c", "--ctx-size", type=int, default=16_384)
    parser.add_argument("-t", "--threads", type=int, default=0)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    SERVE[args.peer](args)


if __name__ == "__main__":
    main()
