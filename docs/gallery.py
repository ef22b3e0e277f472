"""Makes docs/gallery, the pages of a finished run as a site that opens from a clone: python docs/gallery.py [RUN]."""

import re
import shutil
import sys
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.paths import project_root, reports_folder

PLACE = Path(__file__).resolve().parent / "gallery"
MOST_BYTES = 8 * 2**20
UP = '<a href="../index.html">all runs</a>'
NOTE = "<span>The finished demo. <code>make demo</code> makes it on your machine.</span>"
# What a run tells of stages that it found there: whoever has no run can do nothing about it.
LOADED = re.compile(r"^! [^\n]*: the code has changed since [^\n]*\n", re.MULTILINE)
# Where a machine keeps things, outside of what is coded as base64, in which any letters may come.
CODED = re.compile(r'(?:;base64,|"bdata":")[A-Za-z0-9+/=\\]+')
PATHS = re.compile(r"(?<![\w.~-])(?:/(?:home|root|tmp|work|var|usr|mnt|Users)/|[A-Z]:\\)[^\s<\"')]*")


def paths_of_a_machine(text: str) -> list[str]:
    """The folders of a machine that a page names."""
    return PATHS.findall(CODED.sub("", text))


def build(report: Path, place: Path = PLACE) -> Path:
    """Copy the pages in ``report`` to ``place``, return the index; paths of a machine and much weight are refused."""
    pages = {path.name: path.read_text(encoding="utf-8") for path in sorted(report.glob("*.html"))}
    if "index.html" not in pages:
        raise WorkbenchError(f"{report}: there is no index.html. Run: make demo")
    for name, text in pages.items():
        if found := paths_of_a_machine(text):
            raise WorkbenchError(f"{report / name}: names {found[0]}. Run the notebook again without it.")
    size = sum(path.stat().st_size for path in [*report.glob("*.html"), *report.glob("plotly*.js")])
    if size > MOST_BYTES:
        told = f"{size:,} bytes of pages; expected at most {MOST_BYTES:,}"
        raise WorkbenchError(f"{report}: {told}. Choose a smaller run.")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name, text in pages.items():
        (place / name).write_text(LOADED.sub("", text.replace(UP, NOTE)), encoding="utf-8")
    for library in report.glob("plotly*.js"):
        shutil.copyfile(library, place / library.name)
    return place / "index.html"


if __name__ == "__main__":
    try:
        print(build(reports_folder(project_root()) / (sys.argv[1] if len(sys.argv) > 1 else "demo")))
    except WorkbenchError as error:
        sys.exit(str(error))
