"""Stages as the notebooks build them: of the smoke profile, with notebook 03 itself, and of GQA-LT, simulated."""

from pathlib import Path
from typing import Any

import numpy as np

from annotated_scenes.extraction import extract_features
from drawn_scenes.detector import pretrain_detector
from drawn_scenes.detector_config import DetectorConfig
from drawn_scenes.prepare import DrawnScenesConfig, draw_scenes
from drawn_scenes.text_tower import TowerConfig, train_text_tower
from gpu_check.findings import Findings, forget_peak, peak_gigabytes, products_per_second
from simulated_scenes.prepare import SimulationConfig, simulate
from workbench.configuration import configured
from workbench.diffusion.config import DiffusionConfig, FidelityConfig, SamplingConfig
from workbench.diffusion.fidelity import generated_with, study_fidelity
from workbench.diffusion.sample import generate_features
from workbench.diffusion.train import train_diffusion
from workbench.language.config import AugmentationConfig
from workbench.language.text_embedding import embed_class_names
from workbench.language.triplets import write_triplets
from workbench.paths import project_root
from workbench.recognition.config import EvaluationConfig, FineTuningConfig, RebalancingConfig, RecogniserConfig
from workbench.recognition.evaluation import evaluate_recogniser
from workbench.recognition.finetuning import finetune_recogniser
from workbench.recognition.rebalancing import rebalance_recogniser
from workbench.recognition.training import train_recogniser
from workbench.regions.config import ExtractionConfig
from workbench.runs.execution import DONE, environment, execute
from workbench.runs.plan import NetworkSize, plan_resources
from workbench.runs.profiles import make_plan
from workbench.stages import Run, import_stage
from workbench.stopping import StopRequest
from workbench.training import read_log

NARROW = {"width": 32, "heads": 2, "memory": 8, "scene_hidden": 32, "block_hidden": 32}


def smoke(found: Findings) -> None:
    """Notebook 00's stages, those of 02, notebook 03 in a kernel, the stages of 04 and 05; all on the device."""
    values = {each.name[:2]: each.values for each in make_plan("smoke").notebooks}
    run, own = Run.open("smoke", root=found.work), values["00"]
    scenes = run.stage("scenes", draw_scenes, config=configured(DrawnScenesConfig, own["drawing"]))
    chosen = configured(DetectorConfig, own["detector_training"])
    detector = run.stage("detector", pretrain_detector, scenes=scenes, config=chosen)
    extracted = configured(ExtractionConfig, own["extraction"])
    run.stage("features", extract_features, scenes=scenes, detector=detector, image_folder=None, config=extracted)
    tower = run.stage("tower", train_text_tower, scenes=scenes, config=configured(TowerConfig, own["tower_training"]))
    run.stage("text", embed_class_names, vocabulary_folder=scenes, tower=tower)
    _triplets(run, values["02"]["augmentation"])
    notebook = found.work / "notebooks/03_train_diffusion.ipynb"
    outcome = execute(notebook, found.work / "03.ipynb", {}, environment(found.work), StopRequest())
    found.note(notebook_03=outcome.error or outcome.status, kernel_peak_megabytes=outcome.peak_memory_mb)
    found.require("notebook 03 ran", float(outcome.status == DONE), least=1.0)
    # What the notebook has built is loaded.
    _diffusion(run, configured(DiffusionConfig, values["03"]["diffusion"]), values["03"]["sampling"])
    _fidelity(found, run, configured(FidelityConfig, values["04"]["fidelity"]))
    config = configured(RecogniserConfig, values["05"]["recogniser"], only_trained=True)
    _recognisers(found, run, config, configured(FineTuningConfig, values["05"]["finetuning"], only_trained=True))
    found.note(peak_gigabytes=peak_gigabytes())


def simulated_data(found: Findings) -> None:
    """Relations of GQA-LT's imbalance at a scale of 0.02 with features of 4,096 numbers, and the triplets of 02."""
    scale = 0.02 if not found.small else 0.003
    config = SimulationConfig(scale=scale, dimension=found.size(4096, 64))
    stage = import_stage("simulated", simulate, root=found.work, config=config)
    found.note(relations={split: rows["unions"] for split, rows in stage.metrics["features"].items()})
    run = Run.open("simulated", data="simulated", root=found.work)
    quota = found.size(4000, 60)
    made = _triplets(run, {"medium_quota": quota, "few_quota": quota, "centroids": found.size(200, 20)})
    found.note(augmented=made.metrics.get("augmented"))


def simulated_denoiser(found: Findings) -> None:
    """GQA-LT's denoiser on them for some epochs and its samples: rows a second against the machine's product."""
    run, rate = Run.open("simulated", root=found.work), products_per_second(found)
    values = _plan_values("03_train_diffusion")
    network = values["diffusion"]["network"] if not found.small else {"width": 64, "blocks": 2}
    config = configured(DiffusionConfig, values["diffusion"] | {"network": network, "epochs": found.size(10, 1)})
    forget_peak()
    denoiser, generated = _diffusion(run, config, values["sampling"])
    lines = read_log(denoiser.folder)[:5]  # up to the first evaluation
    steps, seconds = (lines[-1][name] - lines[0][name] for name in ("step", "seconds"))
    rows = config.batch_size * steps / seconds if steps else denoiser.metrics["rows_per_second"]
    size = _planned_sizes("lsvru")["denoiser, a row"]
    _compared(found, "denoiser", rows, size, rate, least=0.4)
    found.note(held_out_loss=denoiser.metrics["held_out_loss"], generation_seconds=generated.metrics["seconds"])
    # The plan: AdamW keeps four times the weights, the denoiser five times; the rest are activations.
    found.note(peak_gigabytes=peak_gigabytes(), planned_gigabytes_of_weights=5 * 4 * size.parameters / 1e9)


def simulated_recognisers(found: Findings) -> None:
    """Both heads at GQA-LT's sizes, LSVRU's fine-tuning, re-balancing and evaluation."""
    run, rate = Run.open("simulated", root=found.work), products_per_second(found)
    hidden = found.size(1024, 32)
    for architecture, epochs in (("reltransformer", 2), ("lsvru", 3)):
        sizes = NARROW if found.small and architecture == "reltransformer" else {}
        config = RecogniserConfig(architecture, hidden=hidden, sizes=sizes, epochs=epochs, only_trained=True)
        forget_peak()
        inputs: dict[str, Any] = {"features": run.features, "text": run.text, "config": config}
        made = run.stage("recogniser", train_recogniser, variant=architecture, **inputs)
        size = _planned_sizes(architecture)["recogniser, a relation"]
        log = read_log(made.folder)  # a line an epoch
        rows = (epochs - 1) * made.metrics["rows"] / (log[-1]["seconds"] - log[0]["seconds"])
        _compared(found, architecture, rows, size, rate)
        found.note(**{f"{architecture}: peak gigabytes": peak_gigabytes(),
                      f"{architecture}: planned gigabytes of weights": 4 * 4 * size.parameters / 1e9})  # fmt: skip
    _recognisers(found, run, config, FineTuningConfig(epochs=1, learning_rates=(1e-4,), only_trained=True), "lsvru")


def simulated_fidelity(found: Findings) -> None:
    """Notebook 04's stage on the simulated samples, which is work of the CPU."""
    _fidelity(found, Run.open("simulated", root=found.work), FidelityConfig(rows_at_most=found.size(500, 100)))


def _triplets(run: Run, augmentation: dict[str, Any]):
    config = configured(AugmentationConfig, augmentation)
    return run.stage("triplets", write_triplets, features=run.features, text=run.text, config=config)


def _diffusion(run: Run, config: DiffusionConfig, sampling: dict[str, Any]):
    inputs: dict[str, Any] = {"features": run.features, "text": run.text, "triplets": run.find("triplets")}
    made = run.stage("diffusion", train_diffusion, **inputs, config=config)
    chosen = configured(SamplingConfig, sampling)
    return made, run.stage("generated", generate_features, **inputs, diffusion=made, config=chosen)


def _fidelity(found: Findings, run: Run, config: FidelityConfig) -> None:
    inputs: dict[str, Any] = {name: run.find(name) for name in ("triplets", "diffusion")}
    inputs |= {"features": run.features, "text": run.text, "config": config}
    sampling = generated_with(run.find("generated").parameters)
    measured = run.stage("fidelity", study_fidelity, **inputs, sampling=sampling).metrics
    for name in ("generated", "floor"):
        found.note(**{f"{name}: {key}": measured[name][key] for key in ("coverage", "test_on_real")})


def _recognisers(found: Findings, run: Run, config: RecogniserConfig, tuning: FineTuningConfig, variant="ce") -> None:
    data: dict[str, Any] = {"features": run.features}
    base = run.stage("recogniser", train_recogniser, variant=variant, **data, text=run.text, config=config)
    after: dict[str, Any] = {"recogniser": base, **data}
    adjusted = RebalancingConfig("logit_adjustment", only_trained=True)
    rows: dict[str, Any] = {"generated": run.find("generated"), "triplets": run.find("triplets"), "config": tuning}
    made = {
        variant: base,
        "adjusted": run.stage("recogniser", rebalance_recogniser, variant="adjusted", **after, config=adjusted),
        "diffaugment": run.stage("recogniser", finetune_recogniser, variant="diffaugment", **after, **rows),
    }
    for name, recogniser in made.items():
        chosen: dict[str, Any] = {"recogniser": recogniser, **data, "config": EvaluationConfig(only_trained=True)}
        measured = run.stage("evaluation", evaluate_recogniser, variant=name, **chosen)
        accuracy = {key: value for key, value in measured.metrics.items() if key.startswith("per_example")}
        found.note(**{f"evaluation of {name}": accuracy})
        found.require(f"{name}: per-example accuracy is a number", float(np.mean(list(accuracy.values()))), least=0.0)


def _plan_values(notebook: str) -> dict[str, Any]:
    plan = make_plan("gqa-lt", root=project_root(Path(__file__).parents[2]))
    return next(each.values for each in plan.notebooks if each.name == notebook)


def _planned_sizes(architecture: str) -> dict[str, NetworkSize]:
    root = project_root(Path(__file__).parents[2])
    chosen = {"clip.model": "", "recogniser.architecture": architecture}
    return plan_resources(make_plan("gqa-lt", parameters=chosen, root=root), root).networks


def _compared(
    found: Findings, name: str, rows: float, size: NetworkSize, rate: float, least: float | None = None
) -> None:
    """Rows a second of a training, and its operations a second as a share of the machine's matrix product."""
    found.note(**{f"{name}: training rows a second": rows})
    found.require(f"{name}: share of the matrix product", rows * size.training / rate, least=least, speed=True)
