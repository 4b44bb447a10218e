"""LiteLLM's proxy with its cache in memory: `PYTHON -m benches.proxy.litellm_server UPSTREAM`.

To be run by a Python that has `litellm[proxy]`; prints its port, and ends when its standard input does.
"""

import asyncio
import importlib
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

__all__: list[str] = []


def _configuration(upstream: str) -> str:
    """YAML, of which JSON is a part."""
    model = {"model": "openai/bench", "api_base": f"{upstream}/v1", "api_key": "sk-bench"}
    return json.dumps(
        {
            "model_list": [{"model_name": "bench", "litellm_params": model}],
            "litellm_settings": {"cache": True, "cache_params": {"type": "local"}, "telemetry": False},
            "general_settings": {"master_key": "sk-bench"},
        }
    )


async def _main(upstream: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(_configuration(upstream))
        os.environ |= {
            "CONFIG_FILE_PATH": str(path),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
        }
        uvicorn = importlib.import_module("uvicorn")
        app = importlib.import_module("litellm.proxy.proxy_server").app
        # With its protocol named: asyncio sends small writes at once only where it is.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, backlog=1024))
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.05)
        print(listening.getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
