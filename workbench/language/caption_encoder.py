"""The text half of an open_clip model: from a checkpoint or a folder, from captions to unit vectors."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from workbench.checkpoints import load_weights, read_foreign, read_tensors, save_tensors
from workbench.devices import chosen_device
from workbench.errors import NotHereYet, WorkbenchError
from workbench.escaping import escaped
from workbench.files import sha256_of_file
from workbench.language.config import TextConfig
from workbench.language.published_weights import description_of, refuse_other_training
from workbench.progress import track

if TYPE_CHECKING:
    from open_clip import SimpleTokenizer
    from open_clip.tokenizer import HFTokenizer
    from open_clip.transformer import TextTransformer

WEIGHTS_FILE = "caption_encoder.safetensors"
OPENAI_WEIGHTS = "OpenAI's ViT-L-14: hf download timm/vit_large_patch14_clip_224.openai open_clip_model.safetensors"
TEXT_WEIGHTS = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection", "cls_emb")
# Rows of one pass of the tower. A CPU gains nothing from more; a GPU waits for the next pass with fewer.
ROWS_PER_PASS = {"cpu": 64, "cuda": 1024}
ROWS_PER_STEP = 64
TOKENS_PER_STEP = 8
CAPTIONS_PER_CHUNK = 16384


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
        weights, config = read_tensors(Path(folder) / WEIGHTS_FILE, "Run notebook 00 again.")
        return cls(config, weights)

    def save(self, folder: Path) -> None:
        """Write weights and configuration as one checkpoint."""
        save_tensors(Path(folder) / WEIGHTS_FILE, self.weights, self.config)

    @classmethod
    def from_open_clip(cls, published: TextConfig) -> "CaptionEncoder":
        """The text tower of a published model, from a local checkpoint file (safetensors, or a torch state dict).

        Without a ``checkpoint`` the weights are fetched only where ``download`` is true.
        """
        config, description = published_tower(published)
        path = checkpoint_path(published, description)
        weights = read_foreign(path, f"Published as plain tensors is {OPENAI_WEIGHTS}.").tensors
        digest = sha256_of_file(path)
        told = refuse_other_training(path, published.model, published.pretrained, config["quick_gelu"], digest)
        config["training"] = (
            f"{published.model} {published.pretrained}, {'with' if config['quick_gelu'] else 'without'} QuickGELU: "
            + (f"{told} agrees" if told else "assumed from `pretrained`, nothing in the file tells it")
        )
        config["encoder"] = f"open_clip {published.model} {published.pretrained} {digest[:12]}"
        config["token_ids"] = None
        return cls.from_clip_weights(config, weights, path)

    @classmethod
    def from_clip_weights(
        cls, config: dict, weights: dict[str, torch.Tensor], source: Path | str = "weights in memory"
    ) -> "CaptionEncoder":
        """Keep the text half of a whole CLIP's weights (open_clip's ``CLIP`` or ``CustomTextCLIP`` layout)."""
        text = {name.removeprefix("text."): value for name, value in weights.items()}
        text = {name: value for name, value in text.items() if name.startswith(TEXT_WEIGHTS)}
        kept = {name: config[name] for name in ("embed_dim", "text_cfg", "quick_gelu", "encoder", "token_ids")}
        kept |= {"training": config["training"]} if "training" in config else {}
        if not text:
            found = ", ".join(sorted({escaped(name.split(".")[0], 40) for name in weights})[:5])
            kind = "transformers' names of a CLIP" if "text_model" in found else f"no text tower, only {found}"
            what = f"{source}: holds {kind}; expected open_clip's names"
            raise WorkbenchError(f"{what}. Give open_clip's file of these weights; {OPENAI_WEIGHTS}")
        encoder = cls(kept, text)
        try:
            _ = encoder.transformer
        except WorkbenchError as error:
            raise WorkbenchError(f"{source}: {error}") from error
        return encoder

    @cached_property
    def transformer(self) -> "TextTransformer":
        """The open_clip text transformer with the weights loaded, in float32, ready to run."""
        from open_clip.model import _build_text_tower  # which CLIP itself is made with

        text_config = {**self.config["text_cfg"], "output_tokens": False}
        transformer = _build_text_tower(self.dimension, text_config, self.config["quick_gelu"])
        load_weights(transformer, self.weights, self.encoder, "Give the checkpoint that belongs to the model name.")
        return transformer.eval().requires_grad_(False)

    @cached_property
    def _causal_mask(self) -> torch.Tensor | None:
        """The mask (context, context) that hides what is behind the end of a caption from its vector, if it does."""
        transformer = self.transformer
        return transformer.attn_mask if transformer.pool_type == "argmax" and transformer.cls_emb is None else None

    @cached_property
    def tokeniser(self) -> "SimpleTokenizer | HFTokenizer":
        """The tower's tokeniser: open_clip's byte pairs, which come with the package, or a local one that it names."""
        return tokeniser_of(self.config)

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
    def embed(self, captions: list[str]) -> np.ndarray:
        """Unit vectors (n, T) float32 of n captions, on the GPU where there is one.

        A CPU computes in float32, a GPU in half precision, as OpenAI's own code does: of a ViT-L-14's vectors that
        moves 0.001 at most, where two captions are about 0.6 apart. Passes hold captions of about one length and are
        padded to a multiple of 8 tokens and of 64 captions: the padding behind the end-of-text token cannot reach it
        through the causal mask, and a ViT-L-14 needs a sixth of the time.
        """
        embeddings = np.empty((len(captions), self.dimension), dtype=np.float32)
        device, mask = chosen_device(), self._causal_mask
        transformer = self.transformer.to(device)
        half = torch.autocast(device.type, dtype=torch.float16, enabled=device.type == "cuda")
        for rows, tokens in self._passes(captions, ROWS_PER_PASS.get(device.type, ROWS_PER_STEP)):
            filler = tokens[-1:].expand(-len(tokens) % ROWS_PER_STEP, -1)
            if mask is not None:  # open_clip masks whole captions, whatever the length of these
                transformer.attn_mask = mask[: tokens.shape[1], : tokens.shape[1]].to(device)
            with half:
                vectors = transformer(torch.cat([tokens, filler]).to(device))  # (padded rows, T)
            vectors = torch.nn.functional.normalize(vectors[: len(rows)].float(), dim=-1)
            embeddings[rows] = vectors.cpu().numpy()
        return embeddings

    def _passes(self, captions: list[str], rows_per_pass: int) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Row numbers (m,) and token ids (m, context) of each pass, short captions first within a chunk."""
        for start in track(range(0, len(captions), CAPTIONS_PER_CHUNK), "Embedding captions"):
            tokens = self.tokens(list(captions[start : start + CAPTIONS_PER_CHUNK]))  # (m, context)
            lengths = np.full(len(tokens), tokens.shape[1])  # what the tower must see of each
            if self._causal_mask is not None:
                end = tokens.argmax(dim=1).numpy() + 1  # the end-of-text token has the highest id
                lengths = np.minimum(-(-end // TOKENS_PER_STEP) * TOKENS_PER_STEP, lengths)
            order = np.argsort(lengths, kind="stable")
            for first in range(0, len(order), rows_per_pass):
                rows = order[first : first + rows_per_pass]
                yield start + rows, tokens[torch.from_numpy(rows), : lengths[rows[-1]]]


def published_tower(published: TextConfig) -> tuple[dict, dict]:
    """open_clip's configuration of a model, and its description of the weights, empty where it has none.

    WorkbenchError for an unknown one, or a text tower that is none of open_clip's own, or whose tokeniser
    is not here or has more tokens.
    """
    import open_clip

    config = open_clip.get_model_config(published.model)
    if config is None:
        reason = f"open_clip knows no model {published.model!r}"
        raise WorkbenchError(f"{reason}; `open_clip.list_models()` has the names, ViT-L-14 is the default.")
    config["encoder"] = f"open_clip {published.model}"
    if config["text_cfg"].get("hf_model_name"):
        what = f"{config['encoder']}: a text tower of Hugging Face's transformers is not supported"
        raise WorkbenchError(f"{what}. Choose a model with open_clip's own text transformer, for example ViT-L-14.")
    tokeniser: Any = tokeniser_of(config)
    words = tokeniser.tokenizer.get_vocab() if hasattr(tokeniser, "tokenizer") else tokeniser.encoder
    rows = config["text_cfg"].get("vocab_size", 49408)
    # A table may lack words in brackets (mT5's <extra_id_0>), which no caption gives.
    beyond = any(row >= rows and not word.strip("\u2581").startswith("<") for word, row in words.items())
    if beyond or int(tokeniser(["a"]).max()) >= rows:
        told = f"{config['encoder']}: its tokeniser has {len(words):,} tokens, its text tower {rows:,}"
        remedy = "Fetch the tokeniser of this model again, or choose one with CLIP's tokens, for example ViT-L-14."
        raise WorkbenchError(f"{told}. {remedy}")
    description = description_of(published.model, published.pretrained)
    config["quick_gelu"] = config.get("quick_gelu", False) or description.get("quick_gelu", False)
    return config, description


def tokeniser_of(config: dict) -> "SimpleTokenizer | HFTokenizer":
    """The tokeniser of open_clip's configuration ``config``; one of Hugging Face's only from the local cache."""
    import open_clip

    text = config["text_cfg"]
    length, name = text.get("context_length", 77), text.get("hf_tokenizer_name")
    if not name:
        return open_clip.SimpleTokenizer(context_length=length, **text.get("tokenizer_kwargs", {}))
    try:
        return open_clip.tokenizer.HFTokenizer(
            name, length, tokenizer_mode=text.get("tokenizer_mode"), local_files_only=True,
            **text.get("tokenizer_kwargs", {}),
        )  # fmt: skip
    except (ImportError, OSError, ValueError) as error:
        raise WorkbenchError(
            f"{config['encoder']}: its captions are cut into tokens by {name}, which is not on this machine. Fetch it: "
            'pip install transformers sentencepiece protobuf && python -c "from transformers import AutoTokenizer; '
            f"AutoTokenizer.from_pretrained('{name}')\". Or choose a model with CLIP's tokens, for example ViT-L-14."
        ) from error


def checkpoint_path(published: TextConfig, description: dict) -> Path:
    """The file of a model's weights: ``checkpoint``, or open_clip's, fetched where ``download`` is true.

    ``description`` is open_clip's of the weights, empty where it has none. WorkbenchError with the command that gets
    the file where nothing is to be downloaded.
    """
    import open_clip

    if published.checkpoint is not None:
        return Path(published.checkpoint)
    if not description:
        tags = open_clip.list_pretrained_tags_by_model(published.model)
        what = f"open_clip publishes no weights {published.pretrained!r} for {published.model}"
        raise WorkbenchError(f"{what}; it has {', '.join(tags) or 'none'}. Choose one, or give `checkpoint`.")
    if published.download:
        return Path(open_clip.download_pretrained(description))
    repository = description.get("hf_hub", "").strip("/") or "ORGANISATION/MODEL"
    raise NotHereYet(
        f"The weights of {published.model} {published.pretrained} are not here and nothing is downloaded unasked. "
        f"Either run `hf download {repository} open_clip_model.safetensors` and give that file as `checkpoint`, "
        "or pass `download=True` to fetch it now."
    )


def look(path: Path | None, vocabulary: object, config: TextConfig) -> None:
    """Refuse weights that are not the chosen model's, or that nobody fetches; opens them as the stage will do."""
    if config.model and (path or not config.download):
        CaptionEncoder.from_open_clip(config)
    elif config.model:
        published_tower(config)
