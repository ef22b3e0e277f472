"""The browsers on their own: Voilà on a Jupyter server for this machine alone, whose address has a token."""

import os
import secrets
import socket
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.runs.execution import environment_of, import_nbformat, kernel_transport
from workbench.runs.notebooks import live_environment
from workbench.stages import Run

ADDRESS = "127.0.0.1"
# What the page needs of JupyterLab's extensions: widgets, and those of our own.
EXTENSIONS = ["@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget"]
# The page may ask nothing of any other machine, whatever is in it; fonts, images and workers come from itself.
POLICY = (
    f"default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data: ws://{ADDRESS}:*; "
    "frame-ancestors 'none'; form-action 'none'; base-uri 'self'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# MathJax would come from another machine: of what takes its place every call leads nowhere.
_NO_MATHJAX = (
    "data:text/javascript,var none=new Proxy(()=>{},{get:(_,name)=>name!='then'&&none,apply:()=>none});"
    "window.MathJax=none;//"
)
# As long as the interval, the timeout would cut off idle pages.
_SETTINGS = {"headers": _HEADERS, "mathjax_url": _NO_MATHJAX, "ws_ping_interval": 90_000, "ws_ping_timeout": 30_000}
_IDLE_SECONDS = 600
_LAST_PORT = 65_535


def serve(browsers: list[str], run: Run, *, port: int, theme: str = "light", open_browser: bool = True) -> None:
    """Serve ``browsers`` of ``run`` until Ctrl+C; prints the address, which has a token.

    ``port`` 0 takes any that is free. WorkbenchError where the port is taken. Each visit has a Python process of its
    own, with this interpreter, that ends with the page.
    """
    port, token = _free_port(port), secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="wb-browse-") as folder, environment_of(_variables(folder, run)):
        from jupyter_server.serverapp import ServerApp
        from tornado.ioloop import IOLoop

        notebook = write_notebook(Path(folder), browsers, run)
        server = ServerApp(config=_configuration(folder, port, token, theme))
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
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata |= {
        "title": "Workbench",
        "kernelspec": {"name": "python3", "language": "python", "display_name": "Python"},
    }
    path = folder / "browsers.ipynb"
    nbformat.write(notebook, path)
    return path


def _variables(folder: str, run: Run) -> dict[str, str]:
    """The environment that the kernels shall inherit, in which Voilà finds our page and nobody's settings."""
    places = [str(Path(__file__).parent / "standalone_page"), os.environ.get("JUPYTER_PATH", "")]
    # Private and short: sockets lie there, and a home folder that cannot be written is no obstacle.
    jupyter = {"JUPYTER_PATH": os.pathsep.join(filter(None, places)), "JUPYTER_RUNTIME_DIR": f"{folder}/runtime"}
    return live_environment(run.root) | jupyter | {"JUPYTER_NO_CONFIG": "1"}


def _configuration(folder: str, port: int, token: str, theme: str) -> Any:
    from traitlets.config import Config

    configuration = Config(
        {
            "ServerApp": {
                "ip": ADDRESS,
                "port": port,
                "port_retries": 0,
                "root_dir": folder,
                "open_browser": False,
                "answer_yes": True,
                "allow_root": True,  # containers have no other user, and only this machine is served
                "allow_remote_access": False,  # another name that leads to this machine is refused
                "local_hostnames": [ADDRESS],
                "terminals_enabled": False,
                "log_level": "ERROR",
                "jpserver_extensions": {"voila.server_extension": True},
                "tornado_settings": _SETTINGS,
            },
            "IdentityProvider": {"token": token},
            "VoilaConfiguration": {
                "template": "workbench",
                "theme": theme,
                "allow_template_override": "NO",
                "allow_theme_override": "NO",
                "strip_sources": True,
                "show_tracebacks": False,
                "file_allowlist": [],
                "extension_allowlist": EXTENSIONS,
            },
            # A page whose browser died says no farewell.
            "MappingKernelManager": {"cull_idle_timeout": _IDLE_SECONDS, "cull_interval": 60},
        }
    )
    configuration.merge(kernel_transport(f"{folder}/runtime"))
    return configuration
