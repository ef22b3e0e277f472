"""The command line: ``workbench`` or ``python -m workbench``."""

import argparse
import importlib
import os
import sys
from pathlib import Path

from workbench import __version__
from workbench.errors import WorkbenchError
from workbench.escaping import escaped_lines

_EXAMPLES = """examples:
  workbench run                                  the main job: drawn scenes, all notebooks, a report
  workbench run --profile smoke --run trial      the same in miniature, under another name
  workbench run --only 03 05 -p seed=1           two notebooks with another value
  workbench run -p diffusion.network.width=384   a field of a notebook's config
  workbench run --profile vg-clip --dry-run      show every parameter and stop
  workbench repeat --seeds 0 1 2 3 4             five seeds, intervals, paired differences
  workbench tables --jobs 2                      the paper's Tables 1 to 6 beside ours, five seeds
  workbench features import FOLDER --name NAME   bring features of your own
  workbench data check FOLDER                    all problems of an annotation folder
  workbench data add gqa-lt --root data/raw      a downloaded data set, its data card
  workbench plan --profile gqa-lt                bytes, parameters, operations, before anything runs
  workbench browse map --theme dark              the browsers by themselves, in the browser of this machine
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command: 0 done, 1 failed, 2 refused, 130 interrupted, 138 a kernel died, 141 the reader left."""
    parsed = build_parser().parse_args(arguments)
    try:
        # Everything heavy is imported by the command that needs it, so that help is instant.
        module = importlib.import_module(f"workbench.runs.{parsed.module}")
        return getattr(module, parsed.command)(parsed)
    except WorkbenchError as error:
        print(f"error: {escaped_lines(str(error))}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        print("\ninterrupted: run the same command again to continue", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough; without this the interpreter complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``module`` of ``workbench.runs`` has the function ``command``."""
    parser = argparse.ArgumentParser(
        prog="workbench",
        description="DiffAugment for long-tailed visual relationship recognition, from images to a report.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"workbench {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    _add_repeat(commands)
    _add_tables(commands)
    _add_reports(commands)
    _add_data(commands)
    _add_features(commands)
    _add_recogniser(commands)
    _add_plan(commands)
    _add_tools(commands)
    return parser


def _add_run(commands) -> None:
    run = _command(commands, "run", "run", "execute the notebooks of a profile and write their report")
    _add_run_options(run)
    run.add_argument("--dry-run", action="store_true", help="print the resolved parameters and stop")


def _add_repeat(commands) -> None:
    repeat = _command(commands, "repeat", "repeat", "run a profile once a seed and compare the variants, paired")
    _add_run_options(repeat)
    repeat.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="SEED", help="default: 0 to 4")


def _add_tables(commands) -> None:
    tables = _command(commands, "tables", "tables", "fill the paper's tables for several seeds, and write their page")
    tables.add_argument("--profile", default="demo", help="a profile with a section 'tables' (default: demo)")
    tables.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="SEED", help="default: 0 to 4")
    where = tables.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, default=0, help="processes (default: one a GPU, without a GPU one a core)")
    where.add_argument("--scheduler", default="", metavar="ADDRESS", help="a Dask scheduler whose workers are used")
    _add_replacing(tables)
    tables.add_argument(
        "--only", nargs="+", metavar="ROW", help="some of the rows (--list names them), or own ones as MODULE:NAME"
    )
    instead = tables.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="list the rows and stop")
    instead.add_argument(
        "--compare", type=_resolved, metavar="FILE", help="compare with another tables.json; status 1 where rows differ"
    )
    instead.add_argument(
        "--collect", action="store_true", help="write the page from finished rows alone; status 1 where one is missing"
    )


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", default="demo", help="a file of notebooks/params/ (default: demo)")
    command.add_argument("--run", help="name of the run (default: the profile's)")
    command.add_argument("--only", nargs="+", metavar="NOTEBOOK", help="some of the notebooks, for example 03 05")
    command.add_argument(
        "--processes", type=int, metavar="N", help="processes that share extraction, training, sampling (one a GPU)"
    )
    _add_overrides(command)
    _add_replacing(command)


def _add_replacing(command: argparse.ArgumentParser) -> None:
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--replace", action="store_true", help="build stages again whose parameters or code differ from the stored ones"
    )
    how.add_argument(
        "--strict", action="store_true", help="build stages again whose code has changed, instead of only saying so"
    )


def _add_overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another value, for all notebooks that declare it, or for one: -p 03.diffusion.epochs=20",
    )
    command.add_argument(
        "-f",
        dest="files",
        action="append",
        type=_resolved,
        default=[],
        metavar="YAML",
        help="lay a file over the profile",
    )


def _add_reports(commands) -> None:
    report = _command(commands, "report", "report", "write a run's pages again from its executed notebooks")
    report.add_argument("run", help="name of the run")
    report.add_argument("--inline", action="store_true", help="put plotly into every page: 5 MB more, one file each")
    _command(commands, "runs", "runs", "list the runs")


def _add_data(commands) -> None:
    data = commands.add_parser("data", help="data sets: check, add, simulate, draw").add_subparsers(
        metavar="COMMAND", required=True
    )
    check = _data_command(
        data, "check", "check_data", "report all problems of an annotation folder; status 1 on errors"
    )
    check.add_argument("folder", type=_folder, help="annotation folder (LTVRR layout)")
    check.add_argument("--images", type=_folder, help="folder of the images (default: images in or beside it)")
    add = _data_command(data, "add", "add_data", "check a downloaded data set, count it, and add it under a name")
    add.add_argument("dataset", choices=("gqa-lt", "vg8k-lt", "vrd"), help="which data set")
    add.add_argument("--root", required=True, type=_folder, help="folder into which its files were unpacked")
    add.add_argument("--images", type=_folder, help="folder of the images (default: the usual places under the root)")
    add.add_argument("--name", help="name for the notebooks' parameter data (default: the data set's)")
    add.add_argument(
        "--validation-images",
        type=int,
        default=0,
        metavar="N",
        help="hold N training images out (VRD has no val split)",
    )
    text = add.add_mutually_exclusive_group()
    text.add_argument(
        "--clip-checkpoint", type=_resolved, metavar="FILE", help="weights of CLIP ViT-L-14, for the text"
    )
    text.add_argument("--clip-download", action="store_true", help="fetch the weights of CLIP ViT-L-14 now")
    add.add_argument("--seed", type=int, default=0)
    add.add_argument("--replace", action="store_true", help="take the place of another data set of that name")
    simulate = _data_command(data, "simulate", "simulate_data", "make a data set of a real one's size and frequencies")
    simulate.add_argument("--like", choices=("gqa-lt",), default="gqa-lt", help="whose size and imbalance")
    simulate.add_argument("--scale", type=float, default=1.0, help="share of its images and relations (default: 1.0)")
    simulate.add_argument("--vocabulary", type=_folder, metavar="FOLDER", help="objects.txt and relations.txt, or JSON")
    simulate.add_argument("--dimension", type=int, default=0, help="length of features; 0 makes annotations alone")
    simulate.add_argument("--sparse", action="store_true", help="features as holes: full size, hardly any disk")
    simulate.add_argument(
        "--flaws", type=float, default=0.0, metavar="SHARE", help="share of faulty boxes (default: 0)"
    )
    simulate.add_argument("--name", help="name for the notebooks' parameter data (default: simulated-LIKE)")
    simulate.add_argument("--seed", type=int, default=0)
    simulate.add_argument("--replace", action="store_true", help="take the place of other data of that name")
    draw = _data_command(data, "draw", "draw_data", "draw scenes with annotations; same seed, same bytes")
    draw.add_argument("folder", type=_resolved, help="a new or empty folder")
    draw.add_argument("--seed", type=int, default=0)
    draw.add_argument("--train-images", type=int, default=3000, help="images in the train split (default: 3000)")
    draw.add_argument("--size", type=int, default=160, help="side of an image in pixels (default: 160)")


def _add_features(commands) -> None:
    features = commands.add_parser("features", help="feature stores: import, check, list").add_subparsers(
        metavar="COMMAND", required=True
    )
    bring = _data_command(features, "import", "import_features", "convert a folder of features into data/imported/NAME")
    bring.add_argument("folder", type=_folder, help="npz rows of feature, image, classes, boxes; names; text vectors")
    bring.add_argument("--name", required=True, help="name for the profile's features parameter")
    bring.add_argument("--replace", action="store_true", help="take the place of other features of that name")
    check = _data_command(
        features, "check", "check_features", "compare every file with its checksum; status 1 on damage"
    )
    check.add_argument("name", help="a run with features, or imported features")
    _data_command(features, "list", "list_features", "list the imported features")


def _add_recogniser(commands) -> None:
    recogniser = commands.add_parser("recogniser", help="recognisers trained elsewhere: import").add_subparsers(
        metavar="COMMAND", required=True
    )
    summary = "convert a checkpoint of LTVRR or RelTransformer"
    bring = _data_command(recogniser, "import", "import_recogniser", summary)
    bring.add_argument("checkpoint", type=_resolved, help="model_step<N>.pth or best.pth")
    bring.add_argument("--architecture", required=True, choices=("lsvru", "reltransformer"))
    bring.add_argument("--features", required=True, type=_folder, help="features it shall read: names, train store")
    bring.add_argument("--word-vectors", required=True, type=_resolved, help="those of its training (GoogleNews .bin)")
    bring.add_argument("--output", required=True, type=_resolved, help="folder for recogniser.safetensors")


def _add_plan(commands) -> None:
    plan = _command(commands, "plan", "plan", "print a profile's bytes, parameters and operations before anything runs")
    plan.add_argument("--profile", default="gqa-lt", help="a file of notebooks/params/ (default: gqa-lt)")
    plan.add_argument("--run", help="name of the run (default: the profile's)")
    plan.add_argument("--json", action="store_true", help="print JSON")
    _add_overrides(plan)


def _add_tools(commands) -> None:
    bench = _command(commands, "bench", "bench", "measure speed, write reports/bench.json")
    bench.add_argument("only", nargs="*", metavar="NAME", help="some of the benchmarks (default: all)")
    lab = _command(commands, "lab", "lab", "open JupyterLab on the notebooks, for this machine alone")
    lab.add_argument("--port", type=int, default=8888)
    lab.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    browse = _command(commands, "browse", "browse", "open the browsers by themselves, for this machine alone")
    browse.add_argument("browsers", nargs="*", metavar="BROWSER", help="some of the browsers (default: all)")
    browse.add_argument("--run", help="name of the run (default: demo, or with --data the data's name)")
    browse.add_argument("--data", default="", metavar="NAME", help="imported data (default: what the run was given)")
    browse.add_argument("--images", type=_folder, metavar="FOLDER", help="folder of the images (default: the run's)")
    browse.add_argument("--port", type=int, default=8866, help="default: 8866; 0 takes any that is free")
    browse.add_argument("--theme", choices=("light", "dark"), default="light", help="default: light")
    browse.add_argument("--no-browser", action="store_true", help="print the address and open nothing")


def _command(commands, name: str, function: str, summary: str, module: str = "commands") -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.set_defaults(command=function, module=module)
    return parser


def _data_command(commands, name: str, function: str, summary: str) -> argparse.ArgumentParser:
    return _command(commands, name, function, summary, "data_commands")


def _folder(text: str) -> Path:
    folder = _resolved(text)
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{folder}: there is no such folder")
    return folder


def _resolved(text: str) -> Path:
    return Path(text).expanduser().resolve()


if __name__ == "__main__":
    sys.exit(main())
