"""Kernels of notebooks: always this environment's interpreter, with their sockets in a private folder."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default
from traitlets.config import Config

from workbench.locks import temporary_folder

WITHOUT_INFLUENCE = True  # on any result: where it runs

_LONGEST_SOCKET_NAME = 100
_LONGEST_TEMPORARY_FOLDER = 40


class OwnKernels(KernelSpecManager):
    """One kernel, with the interpreter that asks: a ``python3`` elsewhere on Jupyter's path is of other versions."""

    def find_kernel_specs(self) -> dict[str, str]:
        """The one kernel's name and resources."""
        return {NATIVE_KERNEL_NAME: RESOURCES}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """How a kernel is started: it is interrupted at its end, and would call that an error."""
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict(["--log-level=CRITICAL"]))


class OwnKernelManager(AsyncKernelManager):
    """What starts a kernel of `OwnKernels`."""

    @default("kernel_spec_manager")
    def _own_kernels(self) -> KernelSpecManager:
        return OwnKernels(parent=self)


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
