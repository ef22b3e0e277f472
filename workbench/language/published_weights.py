"""Which training published CLIP weights come from: open_clip's tag, and what a file itself says against it."""

import re
from pathlib import Path
from typing import Any

from safetensors import safe_open

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.file_kinds import FileKind, file_kind
from workbench.files import read_json

OWN_WEIGHTS = "none"
_QUICK = "-quickgelu"


def description_of(model: str, tag: str) -> dict[str, Any]:
    """open_clip's description of a model's weights, {} for weights of one's own; WorkbenchError for an unknown tag."""
    import open_clip

    description = open_clip.get_pretrained_cfg(model, tag)
    tags = open_clip.list_pretrained_tags_by_model(model)
    base = open_clip.get_pretrained_cfg(model.removesuffix(_QUICK), tag)
    if not description and base and not base.get("quick_gelu"):
        what = f"{model} has QuickGELU, but its weights {tag!r} were trained without it"
        raise WorkbenchError(f"{what}. Give the model {model.removesuffix(_QUICK)}.")
    if not description and tags and tag != OWN_WEIGHTS and not base:
        raise WorkbenchError(
            f"open_clip publishes no weights {tag!r} for {model}; it has {', '.join(tags)}. Choose one as "
            f"`pretrained`, or {OWN_WEIGHTS!r} for weights of your own, with the activation of the model's name."
        )
    return description or base


def refuse_other_training(path: Path, model: str, tag: str, quick_gelu: bool, digest: str) -> str:
    """What tells the training of the file ``path``, "" where nothing does; WorkbenchError where it is another one.

    Looked at: open_clip's published checksums, the file's own metadata, the ``open_clip_config.json`` beside it, the
    repository in the path of a Hugging Face cache, and tags in the file's name.
    """
    for evidence, said in _evidence(path, model, digest):
        if isinstance(said, bool):
            if said != quick_gelu:
                with_or_without = "with" if said else "without"
                raise WorkbenchError(
                    f"{path}: {evidence} says that these weights were trained {with_or_without} QuickGELU, but "
                    f"{model} {tag} are {'with' if quick_gelu else 'without'} it. Give the weights' own tag as "
                    "`pretrained` (--clip-pretrained); `open_clip.list_pretrained()` has them."
                )
        elif _clean(tag) not in said:
            what = f"{path}: {evidence} says that these are the weights {' or '.join(sorted(said))}, not {tag!r}"
            remedy = "Give that as `pretrained` (--clip-pretrained), or the file that belongs to the tag."
            raise WorkbenchError(f"{what}. {remedy}")
        return evidence
    return ""


def _evidence(path: Path, model: str, digest: str) -> list[tuple[str, bool | set[str]]]:
    """What each source says, the surest first: whether QuickGELU is on, or the tags that the file may have."""
    import open_clip
    from open_clip.pretrained import _PRETRAINED

    found: list[tuple[str, bool | set[str]]] = []
    by_hash, by_repository = set(), set()
    repositories = {part.removeprefix("models--").replace("--", "/") for part in path.parts if "--" in part}
    for tags in _PRETRAINED.values():
        for tag, description in tags.items():
            sums = re.findall(r"/([0-9a-f]{64})/|-([0-9a-f]{8})\.pt$", description.get("url") or "")
            if any(digest.startswith(full or short) for full, short in sums):
                by_hash.add(_clean(tag))
            if (description.get("hf_hub") or "/").strip("/") in repositories:
                by_repository.add(_clean(tag))
    if by_hash:
        found.append(("its checksum", by_hash))
    if file_kind(path) is FileKind.SAFETENSORS:
        with reading(path, "a safetensors file"), safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if told := metadata.get("pretrained"):
            found.append(("its metadata", {_clean(told)}))
        elif told := metadata.get("quick_gelu"):
            found.append(("its metadata", told.lower() in ("true", "1")))
    beside = path.parent / "open_clip_config.json"
    if beside.is_file():
        config = read_json(beside)
        config = config.get("model_cfg") if isinstance(config, dict) else None
        if isinstance(config, dict):
            found.append((beside.name, bool(config.get("quick_gelu", False))))
    if by_repository:
        found.append(("the repository in its path", by_repository))
    own = {_clean(tag) for tag in open_clip.list_pretrained_tags_by_model(model)}
    if named := {tag for tag in own if tag in _clean(path.name)}:
        found.append(("its name", {tag for tag in named if not any(tag != x and tag in x for x in named)}))
    return found


def _clean(tag: str) -> str:
    return tag.lower().replace("-", "_")
