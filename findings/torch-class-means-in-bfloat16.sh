#!/usr/bin/env bash
# torch 2.13.0 on a CPU: index_add_ and index_reduce_ in bfloat16 shrink the sums and means of common classes alone.
#
# Both add row after row in the type of the result. A bfloat16 sum of ones stops at 256, where one more is less than half
# a step; a float16 sum stops at 2048. So prototypes of classes, made from features that came out of autocast, are
# right for rare classes and shrink with a class's number of rows for the others: exactly the axis on which a
# long-tailed recogniser is judged. tensor.mean() and tensor.sum() of the same rows add in float32 and are right.
#
# Seen, one class of 10,000 rows and one of 100, features uniform in [0, 1):
#   bfloat16: counted 256 and 100, mean by index_reduce_ 0.026 and 0.51, by mean() 0.50 and 0.51
#   float16: counted 2048 and 100, mean by index_reduce_ 0.205 and 0.51, by mean() 0.50 and 0.51
#   float32: counted 10000 and 100, mean by index_reduce_ 0.500 and 0.51, by mean() 0.50 and 0.51
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch

rows = torch.tensor([10_000, 100])
classes = torch.repeat_interleave(torch.arange(2), rows)
features = torch.rand(len(classes), 8, generator=torch.Generator().manual_seed(0))


def seen(dtype):
    counts = torch.zeros(2, dtype=dtype).index_add_(0, classes, torch.ones(len(classes), dtype=dtype))
    values = features.to(dtype)
    means = torch.zeros(2, 8, dtype=dtype).index_reduce_(0, classes, values, "mean", include_self=False)
    plain = [values[classes == label].mean().item() for label in range(2)]
    return counts.tolist(), means.float().mean(1).tolist(), plain


for dtype in (torch.bfloat16, torch.float16, torch.float32):
    counts, means, plain = seen(dtype)
    print(f"{str(dtype)[6:]}: counted {counts[0]:.0f} and {counts[1]:.0f}, mean by index_reduce_ {means[0]:.3f} and "
          f"{means[1]:.2f}, by mean() {plain[0]:.2f} and {plain[1]:.2f}")
    limit = {torch.bfloat16: 256, torch.float16: 2048, torch.float32: 10_000}[dtype]
    assert counts == [limit, 100], "index_add_ behaves differently now"
    assert abs(means[1] - plain[1]) < 0.02 and abs(plain[0] - 0.5) < 0.01
    assert (means[0] < 0.3) == (dtype != torch.float32), "index_reduce_ behaves differently now"
PYTHON
