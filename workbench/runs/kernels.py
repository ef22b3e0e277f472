"""Kernels of notebooks: always this environment's interpreter, with their sockets in a private folder."""

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import psutil
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default
from traitlets.config import Config

from workbench.locks import temporary_folder
from workbench.registry import import_nbformat

WITHOUT_INFLUENCE = True  # on any result: where it runs

_LONGEST_SOCKET_NAME = 100
_LONGEST_TEMPORARY_FOLDER = 40
# What most notebooks import, the first at once; torch's optimisers the second of torch, when they are first used.
_LIBRARIES = (
    *("ipykernel.kernelapp", "pandas", "pyarrow.parquet", "plotly.express", "ipywidgets", "anywidget"),
    *("torch", "torch._dynamo", "scipy.stats", "sklearn.cluster"),
)
_servers: list[psutil.Popen] = []


class OwnKernels(KernelSpecManager):
    """One kernel, with the interpreter that asks: a ``python3`` elsewhere on Jupyter's path is of other versions."""

    def find_kernel_specs(self) -> dict[str, str]:
        """The one kernel's name and resources."""
        return {NATIVE_KERNEL_NAME: RESOURCES}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """How the kernel is started, whatever it is called."""
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


@contextlib.contextmanager
def forked_kernels(variables: dict[str, str]) -> Iterator[None]:
    """Within the block kernels are forks of one process (`serve`) with ``variables`` as its environment; on Linux."""
    # -P: as with a kernel, the folder it is started in is no place for modules.
    command = [sys.executable, "-P", "-m", "workbench.runs.kernels"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with psutil.Popen(command, **pipes, env=variables, start_new_session=True) as server:
        _servers.append(server)
        try:
            yield
        finally:
            _servers.remove(server)
            server.kill()


def running_kernels() -> list[psutil.Process]:
    """The processes of the kernels that this process has asked for."""
    return (_servers or [psutil.Process()])[-1].children()


class _Fork(psutil.Process):
    """A kernel that is no child of this process, with what is asked of one."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        return None if self.is_running() else 1


class OwnKernelManager(AsyncKernelManager):
    """What starts a kernel of `OwnKernels`, within `forked_kernels` as a fork."""

    @default("kernel_spec_manager")
    def _own_kernels(self) -> KernelSpecManager:
        return OwnKernels(parent=self)

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        if not _servers:
            await super()._async_launch_kernel(kernel_cmd, **kw)
            return
        arguments = kernel_cmd[kernel_cmd.index("ipykernel_launcher") + 1 :]
        place: Any = self.provisioner
        try:
            request = json.dumps([arguments, os.fspath(kw.get("cwd", "")), kw["env"]])
            print(request, file=_servers[-1].stdin, flush=True)
            place.process = _Fork(int(_servers[-1].stdout.readline()))
        except (OSError, ValueError, psutil.Error) as error:
            raise RuntimeError("the process that forks kernels has ended") from error
        place.pid = place.pgid = place.process.pid


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """A temporary folder that nobody else reads, its name short where that can be: sockets lie in it."""
    long = len(tempfile.gettempdir()) > _LONGEST_TEMPORARY_FOLDER and os.access("/tmp", os.W_OK)
    with temporary_folder(within="/tmp" if long else None) as folder:
        yield folder


def kernel_transport(runtime: str) -> Config:
    """Sockets in the file system: no port that another kernel may take, nothing that others can read."""
    if os.name != "posix" or len(runtime) + 60 > _LONGEST_SOCKET_NAME:
        return Config()
    return Config({"KernelManager": {"transport": "ipc"}})


def of_one_kernel(runtime: str) -> dict[str, Any]:
    """What nbclient is given for a kernel whose files are in ``runtime``: its death is noticed within a second.

    By default its sockets would lie where it runs, under names that kernels which start together share.
    """
    config = kernel_transport(runtime)
    if "transport" in config.KernelManager:
        config.KernelManager.ip = f"{runtime}/kernel"
    told = {"shell_timeout_interval": 1, "iopub_timeout": 600}  # seconds; a busy machine is no error
    return told | {"kernel_name": NATIVE_KERNEL_NAME, "kernel_manager_class": OwnKernelManager, "config": config}


def serve() -> None:
    """Fork a kernel for each line of standard input, and answer with its number; end with the input."""
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # a kernel ends with this process
    import_nbformat()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # kernels are told by the process that asked for them
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nothing is left of a kernel that has ended
    warnings.filterwarnings("ignore", "This process")  # has threads: numpy's and Arrow's, which are made for a fork
    libraries = list(_LIBRARIES)
    while True:
        if libraries and not select.select([sys.stdin], [], [], 0)[0]:
            importlib.import_module(libraries.pop(0))
            continue
        if not (line := sys.stdin.readline()):
            return
        if (number := os.fork()) == 0:
            break
        print(number, flush=True)
    arguments, folder, variables = json.loads(line)
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    os.chdir(folder or os.curdir)
    os.environ.clear()
    os.environ.update(variables)
    importlib.import_module("ipykernel.kernelapp").launch_new_instance(argv=arguments)


if __name__ == "__main__":
    serve()
