"""The RelTransformer head on stored region features: a relation in the light of its scene.

Source: Chen et al. 2022 as its code base implements it (reference `ltvrr.md`, sections 2.9, 4 and 8).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import nn

from workbench.errors import WorkbenchError
from workbench.randomness import torch_generator
from workbench.recognition.lsvru import LsvruConfig, LsvruHead, VisualEmbeddings
from workbench.recognition.relation_blocks import RelationBlock, RelationEncoder
from workbench.recognition.scene_encoder import LayerNorm, SceneEncoder
from workbench.recognition.scene_tokens import Scenes

COMPATIBILITY = ("clean", "upstream")
TRANSFORMERS = ("multi_head_attention.", "image_encoder.")
# Upstream's ``language_fc`` has 300 inputs whatever the dimension of the words (reference 2.9).
LANGUAGE_INPUTS = 300


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

    width: int = 768
    heads: int = 12
    blocks: int = 2
    scene_layers: int = 2
    memory: int = 100
    scene_hidden: int = 2048
    block_hidden: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.2
    compat: str = "clean"

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads:
            raise WorkbenchError(
                f"width {self.width} is not a multiple of heads {self.heads}. Choose a width that the heads can share."
            )
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise WorkbenchError(f"{name} is {getattr(self, name)}; expected a share from 0 up to, not with, 1.")
        if self.compat not in COMPATIBILITY:
            raise WorkbenchError(f"compat {self.compat!r} is not known. Choose one of: {', '.join(COMPATIBILITY)}.")


class RelTransformerHead(LsvruHead):
    """RelTransformer on the features of subject, union and object region and of the scene's other relations.

    Parameter names and shapes are upstream's (without the prefix ``RelDN.``), including six tensors that upstream
    never uses: ``language_fc`` and ``enc_dec_attn.c_attn``. They get no gradient.
    """

    reads_scenes = True

    def __init__(self, config: RelTransformerConfig, object_vectors: torch.Tensor, relation_vectors: torch.Tensor):
        super().__init__(config, object_vectors, relation_vectors)
        width, heads, levels = config.width, config.heads, config.scene_layers
        upstream = config.compat == "upstream"
        blocks = [
            RelationBlock(width, heads, levels, config.memory, config.block_hidden, config.dropout,
                          config.attention_dropout, upstream)
            for _ in range(config.blocks)
        ]  # fmt: skip
        self.multi_head_attention = RelationEncoder(blocks, config.hidden, LANGUAGE_INPUTS, width)
        self.image_encoder = SceneEncoder(
            3 * config.feature_dimension, width, heads, levels, config.scene_hidden, config.dropout, upstream
        )

    def initialise(self, seed: int) -> "RelTransformerHead":
        """Draw the weights as upstream does: LSVRU's rule, but Xavier-uniform in both transformers (section 4).

        That includes the embeddings and the memory, whose bound is sqrt(6 / (slots x width + width)). Layer norms
        start at weight 1 and bias 0.
        """
        super().initialise(seed)
        for name, parameter in self.named_parameters():
            if name.startswith(TRANSFORMERS) and parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter, generator=torch_generator(seed, "reltransformer", name))
        for module in self.modules():
            if isinstance(module, LayerNorm):
                nn.init.ones_(module.weight)
        return self

    def visual_embeddings(
        self, subject: torch.Tensor, union: torch.Tensor, object: torch.Tensor, scenes: Scenes | None = None
    ) -> VisualEmbeddings:
        """Embed features (N, D) each in the light of their ``scenes``; raises WorkbenchError without scenes.

        Subject, object and relation exchange information in the encoder, with gradients; only the last layers of
        the relation see subject and object through a stop-gradient.
        """
        self._check_scenes(scenes, len(subject))
        embed_object = self.object_vis_embeddings if self.config.separate_roles else self.so_vis_embeddings
        joint = self.prd_feats(torch.cat([subject, union, object], dim=1))  # (N, 3 D) -> (N, hidden)
        tokens = torch.stack([self.so_vis_embeddings(subject), embed_object(object), joint], dim=1)  # (N, 3, hidden)
        encoded = self.multi_head_attention(tokens, self.image_encoder(scenes), scenes.of_row)
        v_subject, v_object, relation = encoded.unbind(dim=1)
        # Normalised here, other than in LSVRU.
        fixed_subject, fixed_object = (functional.normalize(v.detach(), dim=1) for v in (v_subject, v_object))
        stacked = torch.cat([fixed_subject, relation, fixed_object], dim=1)  # (N, 3 hidden)
        return VisualEmbeddings(v_subject, v_object, joint, self.prd_vis_embeddings(stacked))

    def _check_scenes(self, scenes: Scenes | None, rows: int) -> None:
        if scenes is None:
            raise WorkbenchError(
                "RelTransformer reads the other relations of a scene, but no scenes were given. "
                "Pass the scene tokens of these rows, or use an LSVRU head, which needs none."
            )
        dimension = 3 * self.config.feature_dimension
        if scenes.tokens.shape[1] != dimension or len(scenes.of_row) != rows:
            raise WorkbenchError(
                f"scenes: tokens of dimension {scenes.tokens.shape[1]} for {len(scenes.of_row)} rows, expected "
                f"{dimension} for {rows}. Make them from the same features as the rows."
            )
