"""The first look: every file that notebooks or rows of tables name is opened before the first stage starts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drawn_scenes.config import DrawnScenesConfig
from drawn_scenes.long_tail import RELATION_NAMES, training_targets
from workbench.configuration import configured
from workbench.language.config import AugmentationConfig
from workbench.language.triplets import augmented_of
from workbench.looks import Annotations, DataSet, FirstLook, Synsets, TextOfDataSet
from workbench.paths import imported_folder
from workbench.runs.profiles import Plan
from workbench.scenes.vocabulary import OBJECTS_FILE, Vocabulary, named_lists
from workbench.stages import Run

Named = Sequence[tuple[str, Any, Any]]  # place, type, value


def look_at_plan(plan: Plan, root: Path | None = None, may_be_absent: bool = False, others: Named = ()) -> None:
    """Look at the files of a plan's notebooks, and ``others``; WorkbenchError with notebook and parameter of one.

    Word vectors are read once where the names of the data are known: seconds for a GloVe file, half a minute for
    GoogleNews. Whether a list ``include`` leaves anything is tried on the features, where they are here. Where files
    ``may_be_absent``, the missing ones are told on standard error.
    """
    named = [
        (f"{notebook.name}: {name}", parameter.kind, parameter.checked(notebook.values[name], name))
        for notebook in plan.notebooks
        for name, parameter in notebook.declared.items()
    ]
    reads_text = any("run.text" in notebook.source.read_text(encoding="utf-8") for notebook in plan.notebooks)
    run = Run.asked(plan.run, plan.data, plan.image_folder, root, plan.base)
    look_at_named([*named, *others], run, may_be_absent, bool(others) or reads_text)
    own = Run(plan.base or plan.run, run.root).folder / "features" / "default"
    features = imported_folder(run.root) / run.data if run.data else own
    for values in (notebook.values for notebook in plan.notebooks if not may_be_absent):
        if values.get("include") and "augmentation" in values and (features / "train").is_dir():
            lists = named_lists(run.root, include=values["include"], exclude=values["exclude"])
            augmented_of(features, configured(AugmentationConfig, values["augmentation"], seed=values["seed"]), **lists)


def look_at_named(named: Named, run: Run, may_be_absent: bool = False, reads_text: bool = True) -> None:
    """Look at what is ``named``, and at what the ``run`` reads of its data: text, and synsets where it reads text.

    The names of classes are those of the data, of an annotation folder, of what the run has, or will be drawn.
    """
    place, look = f"run {run.name!r}", FirstLook(run.root, may_be_absent)
    named = [*named, (f"{place}: data", DataSet, run.data)]
    for each in named:
        if each[1] in (DataSet, Annotations):  # which have the names
            look.at(*each)
    data = [imported_folder(run.root) / run.data] if run.data else []
    folders = [*data, *(run.path(value) for _, kind, value in named if kind is Annotations and value)]
    made = [run.folder / stage / "default" for stage in ("features", "scenes")]
    drawn = [value for _, _, value in named if isinstance(value, DrawnScenesConfig) and not folders]
    known = next((folder for folder in [*folders, *made] if (folder / OBJECTS_FILE).is_file()), None)
    if known:
        look.vocabulary = Vocabulary.read(known)
    elif drawn:
        classes = training_targets(drawn[0].train_images, drawn[0].classes).classes
        look.vocabulary = Vocabulary(classes, RELATION_NAMES)
    if reads_text and data and data[0].is_dir():
        named.append((f"{place}: text", TextOfDataSet, run.data))
    if reads_text and look.vocabulary:
        named.append((f"{place}: synsets", Synsets, str(known or made[0])))
    for each in named:
        look.at(*each)
