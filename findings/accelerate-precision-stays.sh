#!/usr/bin/env bash
# accelerate 1.15.0, torch 2.13.0: mixed precision stays on a module after the Accelerator that asked for it.
#
# prepare() with mixed_precision="bf16" replaces forward on the module itself. unwrap_model() leaves that in place unless
# keep_fp32_wrapper=False is given, and prepare() of a later Accelerator with mixed_precision="no" does not take it off.
# What then is trained or evaluated "in full precision" multiplies in bfloat16, and nothing shows it: outputs are
# converted to float32, accelerator.mixed_precision says "no". Two trainings in one process meet this when the second
# starts from the first one's network.
#
# Seen: largest difference of a linear layer's outputs to those before prepare(), 0.0077 in both cases, 0 after
# unwrap_model(keep_fp32_wrapper=False).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "accelerate==1.15.0" numpy
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

torch.manual_seed(0)
layer, rows = torch.nn.Linear(256, 256), torch.randn(64, 256)
before = layer(rows).detach()


def difference(module):
    outputs = module(rows).detach()
    assert outputs.dtype == torch.float32
    return (outputs - before).abs().max().item()


trained = Accelerator(cpu=True, mixed_precision="bf16").prepare(layer)
assert trained is layer
unwrapped = difference(Accelerator(cpu=True).unwrap_model(trained))
AcceleratorState._reset_state()  # or a process that has trained in bfloat16 could ask for nothing else
second = Accelerator(cpu=True, mixed_precision="no")
assert second.mixed_precision == "no"
prepared = difference(second.prepare(layer))
clean = difference(second.unwrap_model(layer, keep_fp32_wrapper=False))
print(f"after unwrap_model {unwrapped:.4f}, prepared in full precision {prepared:.4f}, wrapper removed {clean:.4f}")
assert unwrapped > 1e-3 and prepared > 1e-3 and clean == 0.0, "accelerate behaves differently now"
PYTHON
