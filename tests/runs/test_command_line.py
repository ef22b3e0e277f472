"""The command line: exit statuses, messages without tracebacks, help that is quick."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import workbench
from reports.benchmarks import running as bench
from workbench.__main__ import build_parser, main
from workbench.runs import commands, run_records

COMMANDS = tomllib.loads((Path(workbench.__file__).parent / "commands.toml").read_text())["commands"]


def test_errors_are_messages_with_status_2(toy_project, tmp_path, capsys):
    for line, told in (
        (["run", "--profile", "tyo"], "Did you mean 'toy'"),
        (["run", "--profile", "toy", "-p", "seed"], "-p name=value"),
        (["report", "none"], "unknown run 'none'"),
    ):
        assert main(line) == 2 and (error := capsys.readouterr().err).startswith("error: ") and told in error
    with pytest.raises(SystemExit):
        main(["data", "check", str(tmp_path / "absent")])


def test_what_the_system_refuses_is_one_message_with_a_name(toy_project, tmp_path, capsys):
    long = ["recogniser", "import", "a.pth", "--architecture", "lsvru", "--features", str(tmp_path)]
    assert main([*long, "--word-vectors", "w.bin", "--output", "n" * 300]) == 2
    assert "nnn: the name is longer" in capsys.readouterr().err
    (toy_project / "reports").touch()
    assert main(["run", "--profile", "toy"]) == 2 and f"{toy_project / 'reports'}" in capsys.readouterr().err
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "workbench", "runs"]
        told = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert told.returncode == 2 and re.fullmatch("error: the output of .*: the disk is full.*again.\n", told.stderr)


def test_a_dry_run_takes_every_option_and_starts_nothing(toy_project, tmp_path, capsys):
    (tmp_path / "more.yml").write_text("shared: {lr: 0.5}\n")
    options = ["--run", "b", "--only", "01", "-p", "seed=9", "-f", str(tmp_path / "more.yml"), "--replace"]
    assert main(["run", "--profile", "toy", *options, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "run b, profile toy" in told and "* seed = 9" in told and "* lr = 0.5" in told and "02_finish" not in told
    main(["run", "--profile", "toy", "--dry-run"])
    told = capsys.readouterr().out
    assert "* seed = 4" in told and "  lr = 0.001" in told and "* flags = [1, 2]" in told
    assert not (toy_project / "reports").exists()


def test_an_interruption_says_how_to_go_on(toy_project, monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(run_records, "runs_table", interrupt)
    assert main(["runs"]) == 130 and "run the same command again" in capsys.readouterr().err


def test_lists_and_checks_say_what_they_found(toy_project, tmp_path, capsys):
    assert main(["runs"]) == 0 and main(["features", "list"]) == 0
    told = capsys.readouterr().out
    assert "no runs yet" in told and "no features are imported" in told and main(["data", "check", str(tmp_path)]) == 1
    assert "objects.json" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_explains_itself(name, capsys):
    module, _, function = COMMANDS[name]["function"].partition(":")
    assert callable(getattr(importlib.import_module(f"workbench.runs.{module}"), function))
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args([*name.split(), "--help"])
    assert left.value.code == 0 and f"usage: workbench {name}" in capsys.readouterr().out


def test_benchmarks_are_found_run_and_written(toy_project, monkeypatch, capsys):
    assert "startup" in bench.benchmarks()
    monkeypatch.setattr(bench, "benchmarks", lambda: {"a": lambda: {"our_seconds": 0.5, "ratio": 20.0}})
    assert main(["bench"]) == 0 and "ratio" in capsys.readouterr().out
    written = json.loads((toy_project / "reports" / "bench.json").read_text())
    assert written["results"] == {"a": {"our_seconds": 0.5, "ratio": 20.0}} and main(["bench", "b"]) == 2


def test_what_only_developers_need_asks_for_a_checkout(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(commands, "__file__", str(tmp_path / "workbench" / "runs" / "commands.py"))
    assert main(["bench"]) == 2 and "from a checkout" in capsys.readouterr().err
