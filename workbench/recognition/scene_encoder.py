"""RelTransformer's sizes and its global encoder, in which the relations of an image look at each other.

Source: Chen et al. 2022 (RelTransformer) as its code base implements it (reference `ltvrr.md`, section 4).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from workbench.devices import dropped_out
from workbench.errors import WorkbenchError
from workbench.ranges import Count, ShareBelowOne
from workbench.recognition.lsvru import MOST_TOKENS, Array, LsvruConfig, Scenes

PROJECTIONS = ("fc_q", "fc_k", "fc_v", "fc_o")


@dataclass(frozen=True)
class RelTransformerConfig(LsvruConfig):
    """Sizes of the head: those of LSVRU and of the two transformers (upstream's are the defaults).

    ``width`` and ``heads`` of both, ``blocks`` of the relation encoder with ``memory`` slots and ``block_hidden`` in
    their MLPs, ``scene_layers`` of the scene encoder with ``scene_hidden``. ``attention_dropout`` acts on the weights
    of the cross-attention, ``dropout`` everywhere else. ``compat`` "upstream" repeats what trained upstream
    checkpoints expect, "clean" is for own training: scaled self-attention with dropout on its weights, and padding
    that nothing sees. The layers inherited from LSVRU, ``separate_roles``, ``classifier`` and ``adjusted`` included,
    mean the same as there: roles differ in the first visual embedding, classifiers read the encoded tokens.
    """

    width: Count = 768
    heads: Count = 12
    blocks: Count = 2
    scene_layers: Count = 2
    memory: Count = 100
    scene_hidden: Count = 2048
    block_hidden: Count = 3072
    dropout: ShareBelowOne = 0.1
    attention_dropout: ShareBelowOne = 0.2
    compat: Literal["clean", "upstream"] = "clean"

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads:
            raise WorkbenchError(
                f"width {self.width} is not a multiple of heads {self.heads}. Choose a width that the heads can share."
            )


class Packing(NamedTuple):
    """Where rows of several scenes lie once every scene is padded to the same length.

    Row i of P belongs at ``place[i]`` (P,) int64 of the ``scenes`` x ``length`` padded places, counted scene by scene.
    """

    place: Tensor
    scenes: int
    length: int

    def padded(self, rows: Tensor) -> Tensor:
        """Rows (P, ...) at their places, zero elsewhere: (scenes, length, ...)."""
        empty = rows.new_zeros(self.scenes * self.length, *rows.shape[1:])
        return empty.index_copy(0, self.place, rows).unflatten(0, (self.scenes, self.length))

    def packed(self, padded: Tensor) -> Tensor:
        """The rows (P, ...) back from (scenes, length, ...)."""
        return padded.flatten(0, 1)[self.place]


class EncodedScenes(NamedTuple):
    """What the encoder says of S scenes: the output (P, width) of each of its layers for the P tokens of all scenes.

    ``packing`` lays the tokens out by scene; ``visible`` (S, T) bool says which places may be attended to.
    """

    levels: tuple[Tensor, ...]
    packing: Packing
    visible: Tensor


class LayerNorm(nn.LayerNorm):
    """Layer norm in the format of its weights (float32), also where autocast hands it bfloat16; epsilon 1e-5."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise the last dimension of (..., width)."""
        return super().forward(inputs.to(self.weight.dtype))


class SceneEncoder(nn.Module):
    """One layer on the three features of a relation, then post-norm Transformer layers within each scene.

    Each scene is encoded once, however many rows are classified against it. Clean: only real tokens are computed and
    attended to, so neither the padding nor the other scenes of a batch matter. Upstream: every scene is filled up
    with zero tokens to 100, and a token is hidden iff its values after the first layer norm sum to exactly 0. That
    holds for padding while the biases of ``fc`` and ``layer_norm`` are zero, as at initialisation (and for about
    1 % of the real tokens, by rounding); afterwards the padding acts as constant tokens. Upstream has no memory in
    this encoder, in spite of its class name, and no dropout on its attention weights.
    """

    def __init__(self, config: RelTransformerConfig):
        super().__init__()
        self.upstream = config.compat == "upstream"
        self.fc = nn.Linear(3 * config.feature_dimension, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.layer_norm = LayerNorm(config.width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.scene_layers))

    def forward(self, scenes: Scenes) -> EncodedScenes:
        """Encode the tokens (P, 3 D) of S scenes."""
        lengths, device = np.asarray(scenes.lengths), scenes.tokens.device
        longest = max(int(lengths.max(initial=0)), 1)
        if self.upstream and longest > MOST_TOKENS:
            what = f"scenes: {longest} tokens, but upstream's encoder reads up to {MOST_TOKENS}"
            raise WorkbenchError(f"{what}. Give it the first {MOST_TOKENS} relations of an image.")
        longest = MOST_TOKENS if self.upstream else longest
        real = np.arange(longest) < lengths[:, None]  # (S, T)
        packing = Packing(torch.from_numpy(np.flatnonzero(real)).to(device), *real.shape)
        visible = torch.from_numpy(real).to(device)
        rows = self._first_layer(scenes.tokens)  # (P, 3 D) -> (P, width)
        if self.upstream:  # rows (S x 100, width), filled up with what the first layer makes of a zero token
            padding = self._first_layer(scenes.tokens.new_zeros(1, self.fc.in_features))
            every = torch.arange(visible.numel(), device=device)
            rows = padding.expand(len(every), -1).index_copy(0, packing.place, rows)
            packing = packing._replace(place=every)
        rows = self.layer_norm(self.dropout(rows))
        if self.upstream:
            visible = packing.padded(rows).sum(dim=-1) != 0
        levels = []
        for layer in self.layers:
            rows = layer(rows, packing, visible)
            levels.append(rows)
        return EncodedScenes(tuple(levels), packing, visible)

    def _first_layer(self, tokens: Tensor) -> Tensor:
        return functional.gelu(self.fc(tokens), approximate="tanh")


class EncoderLayer(nn.Module):
    """A post-norm Transformer layer: attention within each scene, then a feed-forward network."""

    def __init__(self, config: RelTransformerConfig):
        super().__init__()
        width, hidden = config.width, config.scene_hidden
        self.heads, self.dropout = config.heads, nn.Dropout(config.dropout)
        attention = nn.ModuleDict({name: nn.Linear(width, width) for name in PROJECTIONS})
        self.mhatt = nn.ModuleDict({"attention": attention, "layer_norm": LayerNorm(width)})
        feed_forward = {"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)}
        self.pwff = nn.ModuleDict({**feed_forward, "layer_norm": LayerNorm(width)})

    def forward(self, rows: Tensor, packing: Packing, visible: Tensor) -> Tensor:
        """(P, width) -> (P, width)."""
        fc_q, fc_k, fc_v, fc_o = (self.mhatt.get_submodule(f"attention.{name}") for name in PROJECTIONS)
        query, key, value = (packing.padded(layer(rows)) for layer in (fc_q, fc_k, fc_v))  # (S, T, width) each
        mixed = packing.packed(attend(query, key, value, self.heads, visible=visible))
        rows = self.mhatt["layer_norm"](rows + self.dropout(fc_o(mixed)))
        inner = self.dropout(torch.relu(self.pwff["fc1"](rows)))
        return self.pwff["layer_norm"](rows + self.dropout(self.pwff["fc2"](inner)))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    *,
    visible: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Multi-head attention of queries (B, Q, width) to keys and values (B, K, width); returns (B, Q, width).

    ``visible`` (B, K) bool: hidden keys get weight zero exactly. Where none is visible the query attends to nothing
    and the result is zero (upstream's encoder gives NaN there). ``scale`` is 1/sqrt(width / heads) where not given.
    """
    # (B, L, width) -> (B, heads, L, width / heads)
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    # Two products: torch's own attention takes ten times as long over so few keys (2.14, on a CPU, backwards).
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(2, 3)
    if visible is not None:
        hidden = ~visible[:, None, None, :]
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    if visible is not None:
        weights = weights.masked_fill(hidden, 0.0)
    return (dropped_out(weights, dropout, True) @ value).transpose(1, 2).flatten(2)


def packing_by_scene(of_row: Array, scenes: int, device: torch.device) -> Packing:
    """The packing of rows (N,) whose scene is ``of_row``, in any order; as long as the scene with most rows."""
    of_row = np.asarray(of_row)
    counts = np.bincount(of_row, minlength=scenes)
    order = np.argsort(of_row, kind="stable")
    within = np.empty_like(of_row)
    within[order] = np.arange(len(of_row)) - (counts.cumsum() - counts)[of_row[order]]
    length = int(counts.max(initial=0))
    return Packing(torch.from_numpy(of_row * length + within).to(device), scenes, length)
