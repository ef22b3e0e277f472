"""The browsers on their own: a page for this machine alone, served by Voilà, that needs the token of its address."""

import inspect
import os
import secrets
import socket
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.runs.execution import environment_of, kernel_transport
from workbench.runs.notebooks import live_environment
from workbench.stages import Run

ADDRESS = "127.0.0.1"
# What the page needs of JupyterLab's extensions: widgets, and those of our own.
EXTENSIONS = ["@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget"]
REFUSAL = "Open the address that `workbench browse` printed; it ends in ?token=..."
# The page may ask nothing of any other machine, whatever is in it; fonts, pictures and workers come from itself.
POLICY = "; ".join(
    (
        f"default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data: ws://{ADDRESS}:*",
        "frame-ancestors 'none'",
        "form-action 'none'",
        "base-uri 'self'",
    )
)
_HERE = Path(__file__).parent
_IDLE_SECONDS = 600
_LAST_PORT = 65_535


def serve(browsers: list[str], run: Run, *, port: int, theme: str = "light", open_browser: bool = True) -> None:
    """Serve ``browsers`` of ``run`` until Ctrl+C; prints the address, which has a token.

    ``port`` 0 takes any that is free. WorkbenchError where the port is taken. Each visit has a Python process of its
    own, with this interpreter, that ends with the page.
    """
    sockets, token = _bound(port), secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="wb-browse-") as folder, environment_of(_variables(folder, run)):
        server = _server_class()(
            sockets=sockets,
            port=sockets[0].getsockname()[1],
            notebook_path=str(write_notebook(Path(folder), browsers, run)),
            root_dir=folder,
            connection_dir_root=folder,
            token=token,
            ip=ADDRESS,
            open_browser=open_browser,
            config_file_paths=[],
            log_level="ERROR",
            config=_configuration(theme, folder),
            tornado_settings=_settings(),
        )
        server.initialize([])
        server.start()


def _bound(port: int) -> list[socket.socket]:
    """The port, taken before anything slow begins."""
    from tornado.netutil import bind_sockets

    remedy = "Choose another one: workbench browse --port 8867, or --port 0 for any that is free."
    # Of a number outside, the system would take the last 16 bits.
    if not 0 <= port <= _LAST_PORT:
        raise WorkbenchError(f"port {port}: expected a number from 0 to {_LAST_PORT}. {remedy}")
    try:
        return bind_sockets(port, ADDRESS)
    except OSError as error:
        raise WorkbenchError(f"port {port} cannot be used ({error.strerror}). {remedy}") from error


def write_notebook(folder: Path, browsers: list[str], run: Run) -> Path:
    """The notebook that Voilà runs: one cell that shows the browsers."""
    from workbench.runs.notebook_format import import_nbformat

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
    """The environment that the kernels shall inherit, in which Voilà finds our page."""
    places = [str(_HERE / "standalone_page"), os.environ.get("JUPYTER_PATH", "")]
    # Private and short: sockets lie there, and a home folder that cannot be written is no obstacle.
    jupyter = {"JUPYTER_PATH": os.pathsep.join(filter(None, places)), "JUPYTER_RUNTIME_DIR": folder}
    return live_environment(run.root) | jupyter


def _configuration(theme: str, folder: str) -> Any:
    from traitlets.config import Config

    configuration = Config(
        {
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
    configuration.merge(kernel_transport(f"{folder}/voila_12345678"))
    return configuration


def _settings() -> dict[str, Any]:
    headers = {
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    # Another name that leads to this machine is refused: a page of somebody else's could have it.
    return {
        "headers": headers,
        "allow_remote_access": False,
        "local_hostnames": [ADDRESS],
        # As long as the interval, the timeout would cut off idle pages: an answer comes a moment after its question.
        "ws_ping_interval": 90_000,
        "ws_ping_timeout": 30_000,
    }


def _server_class() -> type:
    """Voilà with this interpreter as its only kernel, one port or none, and no answer without the token."""
    from jupyter_client.kernelspec import KernelSpecManager
    from tornado.httpserver import HTTPServer
    from tornado.ioloop import IOLoop
    from traitlets import List, default
    from voila.app import Voila

    class OwnInterpreter(KernelSpecManager):
        @default("kernel_dirs")
        def _no_other(self) -> list[str]:
            return []

    class Standalone(Voila):
        sockets: Any = List()

        def init_settings(self) -> dict[str, Any]:
            self.voila_configuration.kernel_spec_manager_class = OwnInterpreter
            return super().init_settings()

        def init_handlers(self) -> list:
            return [(pattern, _gated(handler), *rest) for pattern, handler, *rest in super().init_handlers()]

        def listen(self) -> None:
            HTTPServer(self.app).add_sockets(self.sockets)
            address = f"http://{self.ip}:{self.port}/?token={self.token}"
            print(f"{address}\nThe address is a key: whoever has it on this machine sees the data. Ctrl+C ends it.",
                  flush=True)  # fmt: skip
            if self.open_browser:
                webbrowser.open(address)
            self.ioloop = IOLoop.current()
            try:
                self.ioloop.start()
            except KeyboardInterrupt:
                print("\nended", file=sys.stderr)
            finally:
                self.stop()

    return Standalone


def _gated(handler: type) -> type:
    """``handler``, answering only who has shown the token: Voilà serves its static files to everybody."""
    from jupyter_server.base.handlers import JupyterHandler
    from tornado.web import HTTPError
    from voila.tornado.handler import TornadoVoilaHandler

    class Gated(handler):
        async def prepare(self) -> None:
            identity = self.settings["identity_provider"]
            ask = identity.get_user if issubclass(handler, JupyterHandler) else identity.get_user_cookie
            user = ask(self)
            if inspect.isawaitable(user):
                user = await user
            if user is None:
                raise HTTPError(403)
            prepared = super().prepare()
            if inspect.isawaitable(prepared):
                await prepared
            if issubclass(handler, TornadoVoilaHandler):
                # Asked for, it sets its cookie: without it the page's farewell, which ends the kernel, is refused.
                _ = self.xsrf_token

        def write_error(self, status_code: int, **options: Any) -> None:
            self.set_header("Content-Type", "text/plain; charset=UTF-8")
            self.finish(f"{status_code}: {REFUSAL if status_code == 403 else self._reason}\n")

    return Gated
