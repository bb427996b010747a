"""Nioscope: from pictures of a production line to a model that says what is in order.

  python main.py --stage=sample --data_dir=PICTURES              draws pictures to try it on
  python main.py --stage=all --data_dir=PICTURES --work_dir=run  pictures, model, report, SavedModel
  python main.py --stage=predict --work_dir=run --images=FOLDER  judges new pictures

The stages: sample, records, train, eval, explain, export, predict; all is records to export, and
predict where there are --images. Flags can stand in a file, one a line: --flagfile=FILE.
README.md says what each stage takes and makes, and how the report is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import os
import sys
from functools import partial
from pathlib import Path

from absl import app, flags, logging

from models.registry import MODELS
from pipeline.config import Settings
from pipeline.distribution.tf_config import read_place
from pipeline.ending import MESSAGE, Interrupted, ending_when_told
from pipeline.file_faults import find_file_fault
from pipeline.holding import holding_for, holding_model
from pipeline.rundir import RunDir
from records.atomic import write_json
from records.errors import GateError, InputError
from records.places import locate, locate_here
from records.quiet import load_tensorflow

FLAGS = flags.FLAGS

_DEFINE = {
    "bool": flags.DEFINE_bool,
    "float": flags.DEFINE_float,
    "int": flags.DEFINE_integer,
    "str": flags.DEFINE_string,
}
for _field in dataclasses.fields(Settings):
    # A path is read as text, of which `settings_from_flags` makes one.
    _default = str(_field.default) if isinstance(_field.default, Path) else _field.default
    _choices = list(MODELS) if _field.name == "model" else _field.metadata["choices"]
    if _choices:
        flags.DEFINE_enum(_field.name, _default, list(_choices), _field.metadata["help"])
    else:
        _define = _DEFINE.get(str(_field.type), flags.DEFINE_string)
        _define(_field.name, _default, _field.metadata["help"])

_CHAIN = ("records", "train", "eval", "explain", "export")
_MODULES = {"eval": "evaluate"}


def run_all(settings: Settings) -> None:
    """Runs what was asked for: one stage, or the chain, and `predict` when pictures are given."""
    if settings.stage != "all":
        run_stage(settings)
        return
    run_dir = RunDir(settings.work_dir, settings.model)
    run_dir.make()
    with holding_model(run_dir):
        for stage in (*_CHAIN, "predict") if settings.images else _CHAIN:
            print(f"\n=== {stage} ===", flush=True)
            run_stage(settings.for_stage(stage), has_model=True)


def run_stage(settings: Settings, *, has_model: bool = False) -> None:
    """Runs one stage, against all others that would be in its way."""
    run_dir = RunDir(settings.work_dir, settings.model)
    # Before the module is imported: the message then comes at once, without TensorFlow.
    run_dir.require_forerunner(settings.stage)
    with contextlib.ExitStack() as stack:
        if settings.stage != "sample" and read_place(settings.distribute).is_chief:
            run_dir.make()
            stack.enter_context(
                holding_for(settings.stage, run_dir, to=settings.to, has_model=has_model)
            )
            write_json(run_dir.settings(settings.stage), settings.to_json())
        if settings.stage not in ("sample", "records"):
            load_tensorflow()
        name = _MODULES.get(settings.stage, settings.stage)
        importlib.import_module(f"pipeline.stages.{name}").run(settings)


def settings_from_flags() -> Settings:
    """The flags as a checked, frozen `Settings`."""
    values = {field.name: FLAGS[field.name].value for field in dataclasses.fields(Settings)}
    if not values["work_dir"]:
        raise InputError("--work_dir is empty.", "Give a folder, or leave the flag out.")
    for field in dataclasses.fields(Settings):
        if str(field.type).startswith("Path"):
            find = locate if "Url" in str(field.type) else partial(locate_here, flag=field.name)
            values[field.name] = find(values[field.name]) if values[field.name] else None
    return Settings(**values)


def main(argv: list[str]) -> None:
    """Runs a stage; a fault that the user can mend is one message and exit status 2."""
    # Names of pictures may not fit the terminal's encoding.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.set_verbosity(logging.WARNING)  # TensorFlow's notes on how it saves a model
    try:
        with ending_when_told():
            _run(argv)
    except KeyboardInterrupt as stop:
        print(f"\n{MESSAGE}", file=sys.stderr)
        sys.exit(stop.status if isinstance(stop, Interrupted) else 130)
    except InputError as error:
        print(f"\nnioscope: {error}", file=sys.stderr)
        sys.exit(2)
    except GateError as failure:
        print(f"\nnioscope: --gate: {failure}", file=sys.stderr)
        sys.exit(3)


def _run(argv: list[str]) -> None:
    if len(argv) > 1:
        raise InputError(
            f"{argv[1]!r} is no flag.", "Write every option as --name=value; see --help."
        )
    settings = settings_from_flags()
    try:
        run_all(settings)
    except Exception as error:
        if refusal := find_file_fault(error, settings):
            raise refusal from error
        raise


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a flag that cannot be read ends with status 2 as all bad input."""
    try:
        return FLAGS(argv)
    except flags.Error as error:
        print(f"\nnioscope: {error}\n  Remedy: see python main.py --help.", file=sys.stderr)
        sys.exit(2)
    except SystemExit:  # Of --help alone: absl ends it with 1, as if something were wrong.
        sys.exit(0)
    except BrokenPipeError:  # `--help | head`; what is still to be said must not be flushed there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
