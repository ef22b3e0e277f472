"""The text half of an open_clip model: from a checkpoint or a folder, from captions to unit vectors."""

import inspect
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.transformer import QuickGELU, TextTransformer
from safetensors.torch import save_file

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, sha256_of_file, write_json
from workbench.language.clip_weights import checkpoint_path, read_weights
from workbench.progress import track

CONFIG_FILE = "caption_encoder.json"
WEIGHTS_FILE = "caption_encoder.safetensors"
TEXT_WEIGHTS = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection", "cls_emb")
# Rows of one pass of the tower. A CPU gains nothing from more; a GPU waits for the next pass with fewer.
ROWS_PER_PASS = {"cpu": 64, "cuda": 1024}
ROWS_PER_STEP = 64
TOKENS_PER_STEP = 8
CAPTIONS_PER_CHUNK = 16384
PASSES_WITHOUT_PROGRESS = 64


class CaptionEncoder:
    """A frozen open_clip text tower that turns captions into L2-normalised vectors.

    ``config`` is open_clip's model configuration ("embed_dim", "text_cfg", "quick_gelu"), with two keys of ours:
    "encoder", the identity of the weights, and "token_ids", the ascending tokens of open_clip's byte-pair
    vocabulary that a small tower has rows for (None: all of them).
    """

    def __init__(self, config: dict, weights: dict[str, torch.Tensor]):
        self.config = config
        self.weights = weights
        self.encoder: str = config["encoder"]
        self.dimension: int = config["embed_dim"]

    @classmethod
    def load(cls, folder: Path) -> "CaptionEncoder":
        """Read an encoder that ``save`` wrote; WorkbenchError where a file is missing or truncated."""
        config = read_json(Path(folder) / CONFIG_FILE)
        return cls(config, read_weights(Path(folder) / WEIGHTS_FILE))

    def save(self, folder: Path) -> None:
        """Write the configuration as JSON and the weights as safetensors."""
        with atomic_path(Path(folder) / WEIGHTS_FILE) as temporary:
            save_file({name: value.contiguous() for name, value in self.weights.items()}, temporary)
        write_json(Path(folder) / CONFIG_FILE, self.config)

    @classmethod
    def from_open_clip(
        cls, model: str, pretrained: str, checkpoint: Path | None = None, *, download: bool = False
    ) -> "CaptionEncoder":
        """The text tower of a published model, from a local checkpoint file (safetensors, or a torch state dict).

        ``pretrained`` is open_clip's name of the weights; it decides the activation (OpenAI's use QuickGELU).
        Without ``checkpoint`` the weights are fetched only where ``download`` is true.
        """
        config = open_clip.get_model_config(model)
        if config is None:
            raise WorkbenchError(
                f"open_clip knows no model {model!r}; `open_clip.list_models()` has the names, ViT-L-14 is the default."
            )
        published = open_clip.get_pretrained_cfg(model, pretrained)
        path = checkpoint_path(model, pretrained, published, checkpoint, download)
        config["quick_gelu"] = config.get("quick_gelu", False) or published.get("quick_gelu", False)
        weights = read_weights(path)
        config["encoder"] = f"open_clip {model} {pretrained} {sha256_of_file(path)[:12]}"
        config["token_ids"] = None
        return cls.from_clip_weights(config, weights, path)

    @classmethod
    def from_clip_weights(
        cls, config: dict, weights: dict[str, torch.Tensor], source: Path | str = "weights in memory"
    ) -> "CaptionEncoder":
        """Keep the text half of a whole CLIP's weights (open_clip's ``CLIP`` or ``CustomTextCLIP`` layout)."""
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
        text = {name.removeprefix("text."): value for name, value in weights.items()}
        text = {name: value for name, value in text.items() if name.startswith(TEXT_WEIGHTS)}
        kept = {name: config[name] for name in ("embed_dim", "text_cfg", "quick_gelu", "encoder", "token_ids")}
        encoder = cls(kept, text)
        try:
            _ = encoder.transformer
        except RuntimeError as error:
            raise WorkbenchError(
                f"{source}: not the weights of the configured text tower ({str(error)[:300]}). "
                "Give the checkpoint that belongs to the model name."
            ) from error
        return encoder

    @cached_property
    def transformer(self) -> TextTransformer:
        """The open_clip text transformer with the weights loaded, in float32, ready to run."""
        text_config = self.config["text_cfg"]
        foreign = [name for name in ("hf_model_name", "act_kwargs", "norm_kwargs") if text_config.get(name)]
        if foreign:
            raise WorkbenchError(
                f"{self.encoder}: a text tower with {', '.join(foreign)} is not supported. Choose a model with "
                "open_clip's own text transformer, for example ViT-L-14."
            )
        options = asdict(open_clip.CLIPTextCfg(**text_config))
        known = inspect.signature(TextTransformer).parameters
        transformer = TextTransformer(
            **{name: value for name, value in options.items() if name in known and name != "output_tokens"},
            output_dim=self.dimension,
            act_layer=QuickGELU if self.config["quick_gelu"] else torch.nn.GELU,
        )
        transformer.load_state_dict({name: value.float() for name, value in self.weights.items()})
        return transformer.eval().requires_grad_(False)

    @cached_property
    def tokeniser(self) -> open_clip.SimpleTokenizer:
        """open_clip's byte-pair tokeniser, whose vocabulary comes with the package."""
        return open_clip.SimpleTokenizer(context_length=self.config["text_cfg"].get("context_length", 77))

    def tokens(self, captions: list[str]) -> torch.Tensor:
        """Token ids (n, context) int64; WorkbenchError for a word that a small tower was never shown."""
        tokens = self.tokeniser(captions)
        kept = self.config["token_ids"]
        if kept is None:
            return tokens
        kept = torch.tensor(kept)
        rows = torch.searchsorted(kept, tokens).clamp(max=len(kept) - 1)
        unknown = kept[rows] != tokens
        if unknown.any():
            caption, place = (int(index) for index in unknown.nonzero()[0])
            word = self.tokeniser.decode([int(tokens[caption, place])]).strip()
            raise WorkbenchError(
                f"{self.encoder}: {word!r} in the caption {captions[caption]!r} is not among the "
                f"{len(kept)} tokens that this tower was trained with. Train the tower with captions that "
                "hold the word, or take a published open_clip model."
            )
        return rows

    @torch.inference_mode()
    def embed(self, captions: list[str], *, rows_per_pass: int | None = None) -> np.ndarray:
        """Unit vectors (n, T) float32 of n captions, on the GPU where there is one.

        A CPU computes in float32, a GPU in half precision, as OpenAI's own code does: of a ViT-L-14's vectors that
        moves 0.001 at most, where two captions are about 0.6 apart. ``rows_per_pass`` None is what suits the device.
        Passes hold captions of about one length and are padded to a multiple of 8 tokens and of 64 captions: the
        padding behind the end-of-text token cannot reach it through the causal mask, and a ViT-L-14 needs a sixth of
        the time.
        """
        embeddings = np.empty((len(captions), self.dimension), dtype=np.float32)
        device = chosen_device()
        transformer = self.transformer.to(device)
        passes = self._passes(captions, rows_per_pass or ROWS_PER_PASS.get(device.type, ROWS_PER_STEP))
        half = torch.autocast(device.type, dtype=torch.float16, enabled=device.type == "cuda")
        for rows, tokens in passes:
            step = min(rows_per_pass or ROWS_PER_STEP, ROWS_PER_STEP)
            filler = tokens[-1:].expand(-len(tokens) % step, -1)
            with half:
                vectors = self._forward(transformer, torch.cat([tokens, filler]).to(device))  # (padded rows, T)
            vectors = torch.nn.functional.normalize(vectors[: len(rows)].float(), dim=-1)
            embeddings[rows] = vectors.cpu().numpy()
        return embeddings

    def _passes(self, captions: list[str], rows_per_pass: int) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Row numbers (m,) and token ids (m, context) of each pass, short captions first within a chunk."""
        starts = range(0, len(captions), CAPTIONS_PER_CHUNK)
        if len(captions) > PASSES_WITHOUT_PROGRESS * rows_per_pass:
            starts = track(starts, "Embedding captions")
        for start in starts:
            tokens = self.tokens(list(captions[start : start + CAPTIONS_PER_CHUNK]))  # (m, context)
            lengths = self._lengths(tokens)
            order = np.argsort(lengths, kind="stable")
            for first in range(0, len(order), rows_per_pass):
                rows = order[first : first + rows_per_pass]
                yield start + rows, tokens[torch.from_numpy(rows), : lengths[rows[-1]]]

    def _lengths(self, tokens: torch.Tensor) -> np.ndarray:
        """Tokens (m,) that the tower must see of each caption, in steps of 8."""
        transformer = self.transformer
        if transformer.attn_mask is None or transformer.pool_type != "argmax" or transformer.cls_emb is not None:
            return np.full(len(tokens), tokens.shape[1])
        end = tokens.argmax(dim=1).numpy() + 1  # the end-of-text token has the highest id
        return np.minimum(-(-end // TOKENS_PER_STEP) * TOKENS_PER_STEP, tokens.shape[1])

    @staticmethod
    def _forward(transformer: TextTransformer, tokens: torch.Tensor) -> torch.Tensor:
        whole_mask = transformer.attn_mask
        context = tokens.shape[1]
        if whole_mask is not None and transformer.cls_emb is None:
            transformer.attn_mask = whole_mask[:context, :context]
        try:
            return transformer(tokens)
        finally:
            transformer.attn_mask = whole_mask
