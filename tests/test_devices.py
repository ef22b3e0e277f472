"""One place decides the device and the number format of every network."""

import pytest
import torch

from workbench.devices import chosen_device, network_autocast, network_precision


@pytest.mark.parametrize(("local_rank", "gpus", "expected"), [("0", 4, 0), ("3", 4, 3), ("3", 1, 0)])
def test_each_process_of_a_launcher_takes_its_own_gpu(monkeypatch, local_rank, gpus, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert chosen_device() == torch.device("cuda")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert chosen_device() == torch.device("cuda", expected) and chosen_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_matrix_products_have_the_format_asked_for(precision):
    device = torch.device("cpu")
    assert network_precision(device, precision) == precision and network_precision(device) in ("bfloat16", "float32")
    with network_autocast(device, precision):
        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == getattr(torch, precision)
