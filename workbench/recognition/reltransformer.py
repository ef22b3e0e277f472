"""The RelTransformer head on stored region features: a relation in the light of its scene.

Tokens subject, object and relation of a triple look at each other, at a learned memory and at the encoded scene.
Source: Chen et al. 2022 as its code base implements it (reference `ltvrr.md`, sections 2.9, 4 and 8); the gates between
the levels of the scene encoder are those of Cornia et al. 2020 (meshed-memory transformer).
"""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from workbench.errors import WorkbenchError
from workbench.randomness import torch_generator
from workbench.recognition import scene_encoder
from workbench.recognition.lsvru import Array, LsvruHead, Scenes, VisualEmbeddings

TRANSFORMERS = ("multi_head_attention.", "image_encoder.")
# Upstream's ``language_fc`` has 300 inputs whatever the dimension of the words (reference 2.9).
LANGUAGE_INPUTS = 300
# Upstream foresees five tokens, of which two (embedded words, type 0) are never given.
EMBEDDED_PLACES = 5
TOKENS = 3
VISUAL_TYPE = 1


class RelTransformerHead(LsvruHead):
    """RelTransformer on the features of subject, union and object region and of the scene's other relations.

    Parameter names and shapes are upstream's (without the prefix ``RelDN.``), including six tensors that upstream
    never uses: ``language_fc`` and ``enc_dec_attn.c_attn``. They are frozen.
    """

    config_class = scene_encoder.RelTransformerConfig
    reads_scenes = True

    def __init__(self, config: scene_encoder.RelTransformerConfig, object_vectors: Tensor, relation_vectors: Tensor):
        super().__init__(config, object_vectors, relation_vectors)
        self.multi_head_attention = RelationEncoder(config)
        self.image_encoder = scene_encoder.SceneEncoder(config)

    def initialise(self, seed: int) -> "RelTransformerHead":
        """Draw the weights as upstream does: LSVRU's rule, but Xavier-uniform in both transformers (section 4).

        That includes the embeddings and the memory, whose bound is sqrt(6 / (slots x width + width)). Layer norms
        start at weight 1 and bias 0.
        """
        super().initialise(seed)
        for name, parameter in self.named_parameters():
            if name.startswith(TRANSFORMERS) and parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter, generator=torch_generator(seed, "reltransformer", name))
            elif name.startswith(TRANSFORMERS) and name.endswith(".weight"):
                nn.init.ones_(parameter)
        return self

    def visual_embeddings(
        self, subject: Tensor, union: Tensor, object: Tensor, scenes: Scenes | None = None
    ) -> VisualEmbeddings:
        """Embed features (N, D) each in the light of their ``scenes``; raises WorkbenchError without scenes.

        Subject, object and relation exchange information in the encoder, with gradients; only the last layers of
        the relation see subject and object through a stop-gradient.
        """
        if scenes is None:
            what = "RelTransformer reads the other relations of a scene, but no scenes were given"
            remedy = "Pass the scene tokens of these rows, or use an LSVRU head, which needs none."
            raise WorkbenchError(f"{what}. {remedy}")
        dimension, rows = 3 * self.config.feature_dimension, len(subject)
        if scenes.tokens.shape[1] != dimension or len(scenes.of_row) != rows:
            raise WorkbenchError(
                f"scenes: tokens of dimension {scenes.tokens.shape[1]} for {len(scenes.of_row)} rows, expected "
                f"{dimension} for {rows}. Make them from the same features as the rows."
            )
        first = self.first_embeddings(subject, union, object)
        # (N, 3, hidden) -> (N, 3, hidden)
        encoded = self.multi_head_attention(torch.stack(first, dim=1), self.image_encoder(scenes), scenes.of_row)
        v_subject, v_object, relation = encoded.unbind(dim=1)
        # Normalised here, unlike in LSVRU.
        fixed_subject, fixed_object = (functional.normalize(v.detach(), dim=1) for v in (v_subject, v_object))
        stacked = torch.cat([fixed_subject, relation, fixed_object], dim=1)  # (N, 3 hidden)
        return VisualEmbeddings(v_subject, self.prd_vis_embeddings(stacked), v_object)


class TransposedLinear(nn.Module):
    """y = x W + b with the weight stored (inputs, outputs), as upstream's checkpoints have it."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return functional.linear(inputs, self.weight.T, self.bias)


class MemoryAttention(nn.Module):
    """Self-attention of a triple's tokens and attention to a learned memory, joined by a gate.

    The memory (1, slots, width) is shared by all rows. Clean: both attentions are scaled by 1/sqrt(width / heads) and
    have dropout on their weights. ``upstream``: neither (its dropout is computed and thrown away).
    """

    def __init__(self, config: scene_encoder.RelTransformerConfig):
        super().__init__()
        width = config.width
        self.heads, self.dropout, self.upstream = config.heads, config.dropout, config.compat == "upstream"
        self.c_attn = TransposedLinear(width, 3 * width)
        self.c_proj = TransposedLinear(width, width)
        self.memory_features = nn.Parameter(torch.zeros(1, config.memory, width))
        self.mem_attn = TransposedLinear(width, 2 * width)
        self.alpha = nn.Linear(2 * width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, 3, width) -> (N, 3, width)."""
        query, key, value = self.c_attn(inputs).chunk(3, dim=-1)
        memory_key, memory_value = self.mem_attn(self.memory_features).chunk(2, dim=-1)  # 2 x (1, slots, width)
        dropout = self.dropout if self.training else 0.0
        scale, dropout = (1.0, 0.0) if self.upstream else (None, dropout)
        own = scene_encoder.attend(query, key, value, self.heads, scale=scale, dropout=dropout)
        # All rows are queries of the one memory, so that its keys are not repeated for each of them.
        every = query.flatten(0, 1).unsqueeze(0)
        recalled = scene_encoder.attend(
            every, memory_key, memory_value, self.heads, scale=scale, dropout=dropout
        ).view_as(own)
        gate = torch.sigmoid(self.alpha(torch.cat([own, recalled], dim=-1)))
        return self.c_proj(gate * own + (1 - gate) * recalled)


class CrossAttention(nn.Module):
    """Attention of a triple's tokens to the tokens of its scene, with the same weights for every encoder level.

    Keys and values are computed once per scene token. ``c_attn`` is upstream's and never used.
    """

    def __init__(self, config: scene_encoder.RelTransformerConfig):
        super().__init__()
        width = config.width
        self.heads, self.dropout = config.heads, config.attention_dropout
        self.c_attn = TransposedLinear(width, 3 * width).requires_grad_(False)
        self.c_proj = TransposedLinear(width, width)
        self.fc_q = nn.Linear(width, width)
        self.fc_k = nn.Linear(width, width)
        self.fc_v = nn.Linear(width, width)

    def forward(self, inputs: Tensor, scenes: scene_encoder.EncodedScenes, rows: scene_encoder.Packing) -> list[Tensor]:
        """What (N, 3, width) finds in each level of ``scenes``, each (N, 3, width); ``rows`` lays N out by scene.

        A row whose scene has no token finds nothing: it gets the bias of the output projection.
        """
        # (N, 3, width) -> (S, R, 3, width) -> (S, 3 R, width)
        query = rows.padded(self.fc_q(inputs)).flatten(1, 2)
        found = []
        for level in scenes.levels:
            key, value = (scenes.packing.padded(layer(level)) for layer in (self.fc_k, self.fc_v))
            mixed = scene_encoder.attend(query, key, value, self.heads, visible=scenes.visible,
                           dropout=self.dropout if self.training else 0.0)  # fmt: skip
            found.append(self.c_proj(rows.packed(mixed.unflatten(1, (rows.length, inputs.shape[1])))))
        return found


class RelationBlock(nn.Module):
    """Memory attention, attention to each level of the scene encoder through gates, and an MLP.

    The first layer norm also serves the queries and the keys of the cross-attention, and dropout acts on the sums
    with the residual path, not on the branches: both are upstream's and kept in either mode.
    """

    def __init__(self, config: scene_encoder.RelTransformerConfig):
        super().__init__()
        width, hidden = config.width, config.block_hidden
        self.ln_1 = scene_encoder.LayerNorm(width)
        self.attn = MemoryAttention(config)
        self.ln_2 = scene_encoder.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": TransposedLinear(width, hidden), "c_proj": TransposedLinear(hidden, width)})
        self.dropout = nn.Dropout(config.dropout)
        self.enc_dec_attn = CrossAttention(config)
        self._gates = [f"fc_alpha{level + 1}" for level in range(config.scene_layers)]
        for name in self._gates:
            self.add_module(name, nn.Linear(2 * width, width))

    def forward(self, inputs: Tensor, scenes: scene_encoder.EncodedScenes, rows: scene_encoder.Packing) -> Tensor:
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
    """Blocks over the tokens subject, object, relation of each row, between projections from and to ``hidden``.

    ``language_fc`` is upstream's for word tokens and never used.
    """

    def __init__(self, config: scene_encoder.RelTransformerConfig):
        super().__init__()
        hidden, width = config.hidden, config.width
        self.language_fc = nn.Linear(LANGUAGE_INPUTS, width).requires_grad_(False)
        self.visual_fc = nn.Linear(hidden, width)
        self.wpe = nn.Embedding(EMBEDDED_PLACES, width)
        self.wte = nn.Embedding(EMBEDDED_PLACES, width)
        self.h = nn.ModuleList(RelationBlock(config) for _ in range(config.blocks))
        self.linear_projection = nn.Linear(width, hidden)
        self.layer_norm = scene_encoder.LayerNorm(hidden)

    def forward(self, tokens: Tensor, scenes: scene_encoder.EncodedScenes, of_row: Array) -> Tensor:
        """Tokens (N, 3, hidden) of rows whose scenes are ``of_row`` (N,); returns (N, 3, hidden)."""
        rows = scene_encoder.packing_by_scene(of_row, scenes.packing.scenes, tokens.device)
        # (N, 3, hidden) -> (N, 3, width)
        states = self.visual_fc(tokens) + self.wpe.weight[:TOKENS] + self.wte.weight[VISUAL_TYPE]
        for block in self.h:
            states = block(states, scenes, rows)
        return self.layer_norm(self.linear_projection(states))
