"""Builds the Python modules of the contracts, next to their `.proto` files.

Run by the build (`pip install`, through `[tool.hatch.build.hooks.custom]`) and by hand with
`python protos/generate.py`.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from grpc_tools import protoc

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, outside a build
    BuildHookInterface = object

ROOT = Path(__file__).resolve().parent


def _plugin(name: str) -> str:
    """Return `name=path` of a compiler plugin: beside the interpreter, or (in an isolated build) on PATH."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        raise RuntimeError(f"{name} is missing: install the build requirement mypy-protobuf")
    return f"{name}={found}"


def generate() -> None:
    """Write `*_pb2.py`, `*_pb2_grpc.py` and their type stubs for every `.proto` below this folder.

    Raises `RuntimeError` when the compiler refuses a file; it has printed why.
    """
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    bundled = Path(protoc.__file__).parent / "_proto"
    status = protoc.main(
        [
            "protoc",
            f"-I{ROOT}",
            f"-I{bundled}",
            f"--python_out={ROOT}",
            f"--grpc_python_out={ROOT}",
            f"--plugin={_plugin('protoc-gen-mypy')}",
            f"--plugin={_plugin('protoc-gen-mypy_grpc')}",
            f"--mypy_out={ROOT}",
            f"--mypy_grpc_out={ROOT}",
            *sources,
        ]
    )
    if status != 0:
        raise RuntimeError("protoc could not compile the contracts; its own message is above")


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc]
    """Hatch's hook: generates before anything is packed or installed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate the modules; `version` is "standard" or "editable"."""
        generate()


if __name__ == "__main__":
    generate()
