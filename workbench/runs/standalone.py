"""The browsers on their own: Voilà on a Jupyter server for this machine alone, whose address has a token.

How the server is set stands in ``standalone_page/server.json``. Its pages may ask nothing of any other machine: fonts,
images and workers come from itself, and of what takes MathJax's place every call leads nowhere. Containers have no
other user than root, and only this machine is served, so root may serve; another name that leads to this machine is
refused. A page whose browser died says no farewell: its kernel ends when idle. The timeout of pings is shorter than
their interval, which would cut off idle pages.
"""

import json
import os
import secrets
import socket
import sys
import tempfile
import webbrowser
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.runs.execution import environment_of, import_nbformat, kernel_transport, live_environment
from workbench.stages import Run

ADDRESS = "127.0.0.1"
_LAST_PORT = 65_535
_PAGE = Path(__file__).parent / "standalone_page"


def serve(browsers: list[str], run: Run, *, port: int, theme: str = "light", open_browser: bool = True) -> None:
    """Serve ``browsers`` of ``run`` until Ctrl+C; prints the address, which has a token.

    ``port`` 0 takes any that is free. WorkbenchError where the port is taken. Each visit has a Python process of its
    own, with this interpreter, that ends with the page.
    """
    port, token = _free_port(port), secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="wb-browse-") as folder:
        # Voilà finds our page and nobody's settings. The runtime folder is private and short: sockets lie there, and a
        # home folder that cannot be written is no obstacle.
        places = os.pathsep.join(filter(None, [str(_PAGE), os.environ.get("JUPYTER_PATH")]))
        jupyter = {"JUPYTER_PATH": places, "JUPYTER_RUNTIME_DIR": f"{folder}/runtime", "JUPYTER_NO_CONFIG": "1"}
        with environment_of(live_environment(run.root) | jupyter):
            from jupyter_server.serverapp import ServerApp
            from tornado.ioloop import IOLoop
            from traitlets.config import Config

            notebook = write_notebook(Path(folder), browsers, run)
            settings = Config(json.loads((_PAGE / "server.json").read_text(encoding="utf-8")))
            settings.merge(kernel_transport(f"{folder}/runtime"))
            settings.ServerApp.port = port
            settings.ServerApp.root_dir = folder
            settings.IdentityProvider.token = token
            settings.VoilaConfiguration.theme = theme
            server = ServerApp(config=settings)
            server.initialize(argv=[])
            address = f"http://{ADDRESS}:{port}/voila/render/{notebook.name}?token={token}"
            IOLoop.current().add_callback(_announce, address, open_browser)  # once the server listens
            server.start()
        print("\nended", file=sys.stderr)


def _announce(address: str, open_browser: bool) -> None:
    print(address)
    print("The address is a key: whoever has it on this machine sees the data. Ctrl+C ends it.", flush=True)
    if open_browser:
        webbrowser.open(address)


def _free_port(port: int) -> int:
    """The port, or any that is free for 0, before anything slow begins."""
    remedy = "Choose another one: workbench browse --port 8867, or --port 0 for any that is free."
    if not 0 <= port <= _LAST_PORT:
        raise WorkbenchError(f"port {port}: expected a number from 0 to {_LAST_PORT}. {remedy}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise WorkbenchError(f"port {port} cannot be used ({error.strerror}). {remedy}") from error
        return probe.getsockname()[1]


def write_notebook(folder: Path, browsers: list[str], run: Run) -> Path:
    """The notebook that Voilà runs: one cell that shows the browsers."""
    nbformat = import_nbformat()
    source = f"from workbench.runs.browsing import run_tabs\n\nrun_tabs({browsers!r}, {run.name!r})"
    kernel = {"name": "python3", "language": "python", "display_name": "Python"}
    metadata = {"title": "Workbench", "kernelspec": kernel}
    path = folder / "browsers.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)], metadata=metadata), path)
    return path
