# The paper's tables under Snakemake, for clusters and for those who plan with it; `make tables` does without.
#
#   make env && .venv/bin/pip install --editable '.[cluster]'
#   snakemake --cores 2 --rerun-incomplete --keep-going
#   snakemake --cores 2 --rerun-incomplete --config profile=vg-clip 'seeds=[0,1]' 'rows=[lsvru_ce,lsvru_ce_so]'
#   snakemake --executor slurm --jobs 50 --rerun-incomplete                  (with snakemake-executor-plugin-slurm)
#
# The jobs are those of `workbench tables` and share its folders: what one has finished, the other loads. After a kill
# give the same command again, after `snakemake --unlock` where Snakemake itself had no time to clean up.
# A finished stage is never overwritten unasked: where the profile or an input has changed since, its job or the last
# one fails and says in what. WORKBENCH_REPLACE=1 snakemake --forceall ... replaces it and what depends on it; equal
# ones are loaded.
import json
import shlex
import sys

from workbench.tables.plan import EVERYWHERE, table_plan

plan = table_plan(config.get("profile", "demo"))
seeds = [int(seed) for seed in config.get("seeds", range(5))]
rows = list(config.get("rows", []))
workbench = f"{shlex.quote(sys.executable)} -m workbench"
stage_manifest = f"data/runs/{plan.profile}-tables-seed{{seed}}/{{stage}}/{{variant}}/manifest.json"
if plan.settings.get("data"):
    plan.data()  # imported by hand: where it is missing, this says how
    shared = dict.fromkeys(("features", "text"), f"data/imported/{plan.settings['data']}/manifest.json")
else:
    features_run = plan.settings.get("features_run") or plan.profile
    shared = {name: f"data/runs/{features_run}/{name}/default/manifest.json" for name in ("features", "text")}


def manifest_of(seed, key):
    """The manifest of a task, or of the features and texts that all seeds share."""
    stage, _, variant = key.partition("/")
    return shared.get(key) or stage_manifest.format(seed=seed, stage=stage, variant=variant)


def task_of(wildcards):
    return plan.grid.tasks[f"{wildcards.stage}/{wildcards.variant}"]


def settings_of(wildcards):
    """What Snakemake compares with the last time, to start the job that refuses other parameters."""
    task = task_of(wildcards)
    everywhere = {name: plan.settings.get(name) for name in EVERYWHERE}
    return json.dumps([dict(task.inputs), dict(task.parameters), everywhere], sort_keys=True)


workdir: plan.root
shell.prefix("export WORKBENCH_HEADLESS=1; ")  # lines instead of bars, which several jobs would write over each other


wildcard_constraints:
    seed=r"\d+",
    stage="[^/]+",
    variant="[^/]+",


rule tables:
    input:
        [manifest_of(seed, f"evaluation/{row}") for seed in seeds for row in rows or plan.grid.systems],
        # A change of these has every stage compared with what is asked for now, however it was built.
        sorted(set(shared.values())),
        f"notebooks/params/{plan.profile}.yml",
    output:
        f"reports/{plan.profile}-tables/tables.json",
    params:
        seeds=" ".join(map(str, seeds)),
        only=f"--only {' '.join(rows)}" if rows else "",
    shell:
        "{workbench} tables --profile {plan.profile} --seeds {params.seeds} {params.only} --collect"


# update() keeps Snakemake from deleting a manifest before it starts the job again: the job loads a finished stage.
rule stage:
    input:
        lambda wildcards: sorted({manifest_of(wildcards.seed, key) for key in task_of(wildcards).inputs.values()}),
    output:
        update(stage_manifest),
    params:
        settings=settings_of,
    shell:
        "{workbench} tables --profile {plan.profile} --seeds {wildcards.seed}"
        " --task {wildcards.stage}/{wildcards.variant}"


if not plan.settings.get("data"):

    rule features:
        output:
            [update(manifest) for manifest in shared.values()],
        shell:
            "{workbench} run --profile {plan.profile} --run {features_run} --only 00"
