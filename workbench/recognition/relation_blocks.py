"""RelTransformer's relation encoder: subject, object and relation of one triple, a memory, and the scene.

Source: Chen et al. 2022 (RelTransformer) as its code base implements it (reference `ltvrr.md`, section 4); the gates
between the levels of the scene encoder are those of Cornia et al. 2020 (meshed-memory transformer).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import nn

from workbench.recognition.scene_encoder import EncodedScenes, LayerNorm, Packing, attend, packing_by_scene

# Upstream foresees five tokens, of which two (embedded words, type 0) are never given.
EMBEDDED_PLACES = 5
TOKENS = 3
VISUAL_TYPE = 1


class TransposedLinear(nn.Module):
    """y = x W + b with the weight stored (inputs, outputs), as upstream's checkpoints have it."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., inputs) -> (..., outputs)."""
        return functional.linear(inputs, self.weight.T, self.bias)


class MemoryAttention(nn.Module):
    """Self-attention of a triple's tokens and attention to a learned memory, joined by a gate.

    The memory (1, slots, width) is shared by all rows. Clean: both attentions are scaled by 1/sqrt(width / heads) and
    have dropout on their weights. ``upstream``: neither (its dropout is computed and thrown away).
    """

    def __init__(self, width: int, heads: int, memory: int, dropout: float, upstream: bool):
        super().__init__()
        self.heads, self.dropout, self.upstream = heads, dropout, upstream
        self.c_attn = TransposedLinear(width, 3 * width)
        self.c_proj = TransposedLinear(width, width)
        self.memory_features = nn.Parameter(torch.zeros(1, memory, width))
        self.mem_attn = TransposedLinear(width, 2 * width)
        self.alpha = nn.Linear(2 * width, width)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(N, 3, width) -> (N, 3, width)."""
        query, key, value = self.c_attn(inputs).chunk(3, dim=-1)
        memory_key, memory_value = self.mem_attn(self.memory_features).chunk(2, dim=-1)  # 2 x (1, slots, width)
        own = self._attend(query, key, value)
        # All rows are queries of the one memory, so that its keys are not repeated for each of them.
        recalled = self._attend(query.flatten(0, 1).unsqueeze(0), memory_key, memory_value).view_as(own)
        gate = torch.sigmoid(self.alpha(torch.cat([own, recalled], dim=-1)))
        return self.c_proj(gate * own + (1 - gate) * recalled)

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if self.upstream:
            return attend(query, key, value, self.heads, scale=1.0)
        return attend(query, key, value, self.heads, dropout=self.dropout if self.training else 0.0)


class CrossAttention(nn.Module):
    """Attention of a triple's tokens to the tokens of its scene, with the same weights for every encoder level.

    Keys and values are computed once per scene token. ``c_attn`` is upstream's and never used.
    """

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.c_attn = TransposedLinear(width, 3 * width)
        self.c_proj = TransposedLinear(width, width)
        self.fc_q = nn.Linear(width, width)
        self.fc_k = nn.Linear(width, width)
        self.fc_v = nn.Linear(width, width)

    def forward(self, inputs: torch.Tensor, scenes: EncodedScenes, rows: Packing) -> list[torch.Tensor]:
        """What (N, 3, width) finds in each level of ``scenes``, each (N, 3, width); ``rows`` lays N out by scene.

        A row whose scene has no token finds nothing: it gets the bias of the output projection.
        """
        # (N, 3, width) -> (S, R, 3, width) -> (S, 3 R, width)
        query = rows.padded(self.fc_q(inputs)).flatten(1, 2)
        found = []
        for level in scenes.levels:
            key, value = (scenes.packing.padded(layer(level)) for layer in (self.fc_k, self.fc_v))
            mixed = attend(query, key, value, self.heads, visible=scenes.visible,
                           dropout=self.dropout if self.training else 0.0)  # fmt: skip
            found.append(self.c_proj(rows.packed(mixed.unflatten(1, (rows.length, inputs.shape[1])))))
        return found


class RelationBlock(nn.Module):
    """Memory attention, attention to each level of the scene encoder through gates, and an MLP.

    The first layer norm also serves the queries and the keys of the cross-attention, and dropout acts on the sums
    with the residual path, not on the branches: both are upstream's and kept in either mode.
    """

    def __init__(
        self, width: int, heads: int, levels: int, memory: int, hidden: int, dropout: float, attention_dropout: float,
        upstream: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.ln_1 = LayerNorm(width)
        self.attn = MemoryAttention(width, heads, memory, dropout, upstream)
        self.ln_2 = LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": TransposedLinear(width, hidden), "c_proj": TransposedLinear(hidden, width)})
        self.dropout = nn.Dropout(dropout)
        self.enc_dec_attn = CrossAttention(width, heads, attention_dropout)
        self._gates = [f"fc_alpha{level + 1}" for level in range(levels)]
        for name in self._gates:
            self.add_module(name, nn.Linear(2 * width, width))

    def forward(self, inputs: torch.Tensor, scenes: EncodedScenes, rows: Packing) -> torch.Tensor:
        """(N, 3, width) -> (N, 3, width)."""
        own = self.dropout(inputs + self.attn(self.ln_1(inputs)))
        normed = scenes._replace(levels=tuple(self.ln_1(level) for level in scenes.levels))
        parts = []
        for name, found in zip(self._gates, self.enc_dec_attn(self.ln_1(own), normed, rows), strict=True):
            gate = torch.sigmoid(self.get_submodule(name)(torch.cat([own, found], dim=-1)))
            parts.append(gate * own + (1 - gate) * found)
        meshed = sum(parts) / math.sqrt(len(parts))
        inner = functional.gelu(self.mlp["c_fc"](self.ln_2(meshed)), approximate="tanh")
        return self.dropout(meshed + self.mlp["c_proj"](inner))


class RelationEncoder(nn.Module):
    """Blocks over the tokens subject, object, relation of each row, between projections from and to ``visual``.

    ``words`` is the dimension of the word vectors: ``language_fc`` is upstream's for word tokens and never used.
    """

    def __init__(self, blocks: Sequence[RelationBlock], visual: int, words: int, width: int):
        super().__init__()
        self.language_fc = nn.Linear(words, width)
        self.visual_fc = nn.Linear(visual, width)
        self.wpe = nn.Embedding(EMBEDDED_PLACES, width)
        self.wte = nn.Embedding(EMBEDDED_PLACES, width)
        self.h = nn.ModuleList(blocks)
        self.linear_projection = nn.Linear(width, visual)
        self.layer_norm = LayerNorm(visual)

    def forward(self, tokens: torch.Tensor, scenes: EncodedScenes, of_row: torch.Tensor) -> torch.Tensor:
        """Tokens (N, 3, visual) of rows whose scenes are ``of_row`` (N,); returns (N, 3, visual)."""
        rows = packing_by_scene(of_row, scenes.packing.scenes)
        # (N, 3, visual) -> (N, 3, width)
        states = self.visual_fc(tokens) + self.wpe.weight[:TOKENS] + self.wte.weight[VISUAL_TYPE]
        for block in self.h:
            states = block(states, scenes, rows)
        return self.layer_norm(self.linear_projection(states))
