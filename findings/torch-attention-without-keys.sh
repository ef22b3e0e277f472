#!/usr/bin/env bash
# torch 2.13.0: nn.MultiheadAttention on a sequence of padding alone gives NaN or numbers, by need_weights and no_grad.
#
# A picture without boxes in a padded batch has every key masked. With need_weights=True (softmax over nothing) its rows
# are NaN. With need_weights=False and gradients on, the fused attention gives zeros, so training is clean. The same call
# under torch.no_grad() in evaluation takes the fast path, and is NaN again: a network that trained without a fault gives
# NaN when it is judged, for the same batch, weights and arguments. Nothing in the output's shape or in the other
# sequences shows it; a mean over the batch is NaN.
#
# Seen (rows of the empty sequence NaN):
#   need_weights=True: gradients on True, no_grad True; need_weights=False: gradients on False, no_grad True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch

torch.manual_seed(0)
attention = torch.nn.MultiheadAttention(16, 2, batch_first=True).eval()
boxes = torch.randn(2, 5, 16)
padding = torch.tensor([[True] * 5, [False] * 3 + [True] * 2])


def empty_is_nan(need_weights, gradients):
    with torch.set_grad_enabled(gradients):
        out = attention(boxes, boxes, boxes, key_padding_mask=padding, need_weights=need_weights)[0]
    assert not out[1].isnan().any()
    return bool(out[0].isnan().any())


seen = {(need, grad): empty_is_nan(need, grad) for need in (True, False) for grad in (True, False)}
print("; ".join(f"need_weights={need}: gradients on {seen[need, True]}, no_grad {seen[need, False]}"
                for need in (True, False)))
assert seen == {(True, True): True, (True, False): True, (False, True): False, (False, False): True}, "torch differs now"
PYTHON
