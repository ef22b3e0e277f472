"""A folder that a killed piece of work goes on in, but only the same piece of work."""

import json
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.files import read_json, write_json
from workbench.processes import Processes


def require_same_work(path: Path, work: dict[str, Any], processes: Processes | None = None) -> None:
    """Write what is being done to ``path``; WorkbenchError where something else was being done there.

    All of ``processes`` must call it: the first one writes, and all compare.
    """
    work, processes = json.loads(json.dumps(work)), processes or Processes()
    if processes.main and not Path(path).exists():
        write_json(path, work)
    processes.wait()
    found = read_json(path)
    changed = sorted(key for key in {*found, *work} if found.get(key) != work.get(key))
    if changed:
        raise WorkbenchError(
            f"{path}: this folder holds work with another {', '.join(changed)}. Delete the folder to start afresh, or "
            "use the same parameters and data to go on with it."
        )
