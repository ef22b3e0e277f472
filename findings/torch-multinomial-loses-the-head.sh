#!/usr/bin/env bash
# torch 2.13.0 on a CPU: torch.multinomial with float32 weights never draws the commonest classes of a long tail.
#
# Class-balanced sampling gives each row the weight 1 / (rows of its class). torch.multinomial with replacement adds the
# weights up in their own type. A class of 200,000 rows has weights of 5e-6; once the running sum has passed 128, half a
# step of float32 is 7.6e-6, and a smaller weight leaves the sum as it was: the row cannot be drawn. So the
# *head* is lost, although every class has the same share. Nothing is raised, and how much is lost depends on the order
# of the rows: none where the commonest class comes first, all of it where it comes last. WeightedRandomSampler is spared,
# since it converts to float64; whoever calls torch.multinomial on what `1 / counts.float()` gives is not.
#
# Seen, 2,000 classes by Zipf's law over 1,700,018 rows, 1,000,000 draws, the ten commonest classes' draws per draw
# expected:
#   commonest first   float32 1.02   float64 1.02
#   shuffled          float32 0.38   float64 1.02
#   commonest last    float32 0.00   float64 1.01
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import torch

CLASSES, ROWS, DRAWS = 2000, 1_700_000, 1_000_000
shares = 1 / torch.arange(1, CLASSES + 1, dtype=torch.float64)
counts = (shares / shares.sum() * ROWS).round().long()
commonest_first = torch.repeat_interleave(torch.arange(CLASSES), counts)
shuffled = commonest_first[torch.randperm(len(commonest_first), generator=torch.Generator().manual_seed(0))]
orders = {"commonest first": commonest_first, "shuffled": shuffled, "commonest last": commonest_first.flip(0)}


def head(classes, dtype):
    """Draws of the ten commonest classes over the number expected."""
    weights = (1 / counts.double())[classes].to(dtype)
    drawn = torch.multinomial(weights, DRAWS, replacement=True, generator=torch.Generator().manual_seed(0))
    return float((classes[drawn] < 10).double().mean() / (10 / CLASSES))


seen = {}
for name, classes in orders.items():
    seen[name] = [head(classes, dtype) for dtype in (torch.float32, torch.float64)]
    print(f"{name:<17} float32 {seen[name][0]:.2f}   float64 {seen[name][1]:.2f}")
assert seen["commonest last"][0] == 0 and seen["shuffled"][0] < 0.6, "torch.multinomial behaves differently now"
assert all(abs(double - 1) < 0.1 for _, double in seen.values()), "float64 weights are no remedy any more"
PYTHON
