"""One of the processes that build a stage together: ``python -m workbench.stage_process REQUEST.json``.

Started by ``workbench.launching``, or by hand under ``torchrun`` or ``accelerate launch`` on several machines. The
request holds build ("module:function"), folder and parameters; the answer is written beside it, one a process.
"""

import importlib
import os
import sys
import traceback
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.files import read_json, write_json
from workbench.identity import without_nan
from workbench.launching import SHARED_STAGES, from_json


def main(request_path: str) -> int:
    """Build the stage of the request together with the other processes; returns the exit status."""
    request = read_json(Path(request_path))
    rank = int(os.environ.get("RANK", "0"))
    if rank:  # the first process speaks for all
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    answer = {"metrics": None, "error": None}
    try:
        answer["metrics"] = without_nan(_builder(request["build"])(Path(request["folder"]), **_parameters(request)))
    except Exception as error:
        answer["error"] = {"type": type(error).__name__, "text": str(error)}
        if not isinstance(error, WorkbenchError):
            answer["error"]["text"] = traceback.format_exc()
    write_json(Path(request_path).with_name(f"answer-{rank:05d}.json"), answer)
    return int(answer["error"] is not None)


def _builder(name: str):
    if name not in SHARED_STAGES:
        raise WorkbenchError(f"{name} is not a stage that processes can share: {', '.join(sorted(SHARED_STAGES))}.")
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def _parameters(request: dict) -> dict:
    return from_json(request["parameters"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
