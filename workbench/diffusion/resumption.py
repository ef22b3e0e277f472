"""A folder that a killed piece of work goes on in, but only the same piece of work."""

import json
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.files import read_json, write_json


def require_same_work(path: Path, work: dict[str, Any]) -> None:
    """Write what is being done to ``path``; WorkbenchError where something else was being done there."""
    work = json.loads(json.dumps(work))
    if not Path(path).exists():
        write_json(path, work)
        return
    found = read_json(path)
    changed = sorted(key for key in {*found, *work} if found.get(key) != work.get(key))
    if changed:
        raise WorkbenchError(
            f"{path}: this folder holds work with another {', '.join(changed)}. Delete the folder to start afresh, or "
            "use the same parameters and data to go on with it."
        )
