"""The text half of an open_clip model: from a checkpoint or a folder, from captions to unit vectors."""

import inspect
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError  # what torch.load(weights_only=True) raises; nothing here unpickles

import numpy as np
import open_clip
import torch
from open_clip.transformer import QuickGELU, TextTransformer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, sha256_of_file, write_json

CONFIG_FILE = "caption_encoder.json"
WEIGHTS_FILE = "caption_encoder.safetensors"
TEXT_WEIGHTS = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection", "cls_emb")
UNREADABLE = (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError, ValueError)  # of a checkpoint file
ROWS_PER_PASS = 64
TOKENS_PER_STEP = 8


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
        path = _checkpoint_path(model, pretrained, published, checkpoint, download)
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
    def embed(self, captions: list[str], *, rows_per_pass: int = ROWS_PER_PASS) -> np.ndarray:
        """Unit vectors (n, T) float32 of n captions, in float32 arithmetic, on the GPU where there is one.

        Passes are padded to a full batch and contexts to a multiple of 8 tokens: the padding behind the
        end-of-text token cannot reach it through the causal mask, and a ViT-L-14 needs a sixth of the time.
        """
        if not captions:
            return np.zeros((0, self.dimension), dtype=np.float32)
        device = chosen_device()
        transformer = self.transformer.to(device)
        tokens = self._trimmed(self.tokens(list(captions)))
        embeddings = np.empty((len(tokens), self.dimension), dtype=np.float32)
        for start in range(0, len(tokens), rows_per_pass):
            batch = tokens[start : start + rows_per_pass]
            padded = torch.cat([batch, batch[-1:].expand(rows_per_pass - len(batch), -1)])  # (rows_per_pass, context)
            vectors = torch.nn.functional.normalize(self._forward(transformer, padded.to(device)), dim=-1)
            embeddings[start : start + len(batch)] = vectors[: len(batch)].cpu().numpy()
        return embeddings

    def _trimmed(self, tokens: torch.Tensor) -> torch.Tensor:
        transformer = self.transformer
        if transformer.attn_mask is None or transformer.pool_type != "argmax" or transformer.cls_emb is not None:
            return tokens
        longest = int(tokens.argmax(dim=1).max()) + 1  # the end-of-text token has the highest id
        return tokens[:, : -(-longest // TOKENS_PER_STEP) * TOKENS_PER_STEP]

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


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file or of a torch state dict, never through pickle (``weights_only``)."""
    path = Path(path)
    if not path.is_file():
        raise WorkbenchError(f"{path}: the checkpoint is missing. Correct the path, or write the file again.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise WorkbenchError(
            f"{path}: not a readable checkpoint ({str(error)[:200]}). Expected safetensors or a torch state dict that "
            "`torch.load(weights_only=True)` accepts (not a TorchScript archive); fetch or write the file again."
        ) from error
    weights = weights.get("state_dict", weights) if isinstance(weights, dict) else None
    if not weights or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise WorkbenchError(f"{path}: expected a state dict of named tensors. Save the model's `state_dict()`.")
    return weights


def _checkpoint_path(model: str, pretrained: str, published: dict, checkpoint: Path | None, download: bool) -> Path:
    if checkpoint is not None:
        return Path(checkpoint)
    if not published:
        raise WorkbenchError(
            f"open_clip publishes no weights {pretrained!r} for {model}; it has "
            f"{', '.join(open_clip.list_pretrained_tags_by_model(model)) or 'none'}. Choose one, or give `checkpoint`."
        )
    if download:
        return Path(open_clip.download_pretrained(published))
    repository = published.get("hf_hub", "").strip("/") or "ORGANISATION/MODEL"
    raise WorkbenchError(
        f"The weights of {model} {pretrained} are not here and nothing is downloaded unasked. Either run "
        f"`hf download {repository} open_clip_model.safetensors` and give that file as `checkpoint`, "
        "or pass `download=True` to fetch it now."
    )
