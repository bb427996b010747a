"""Nioscope's command line: reads the flags, checks them, runs the stage; nothing else.

python main.py --stage=all --data_dir=PICTURES --work_dir=RUN
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import sys
from pathlib import Path

from absl import app, flags, logging

from models.registry import MODELS
from pipeline.config import LAYOUTS, PRETRAININGS, RESIZES, STAGES, TARGETS, Settings
from pipeline.quiet import load_tensorflow
from pipeline.rundir import RunDir
from records.atomic import write_json
from records.errors import GateError, InputError

FLAGS = flags.FLAGS

flags.DEFINE_enum("stage", "all", list(STAGES), "What to run.")
flags.DEFINE_string("data_dir", None, "Folder of pictures: `sample` writes it, `records` reads it.")
flags.DEFINE_enum("layout", "auto", list(LAYOUTS), "How data_dir is laid out.")
flags.DEFINE_string("work_dir", "run", "Run directory: everything a run makes goes in here.")
flags.DEFINE_enum("model", "autoencoder", list(MODELS), "Which model.")
flags.DEFINE_integer("seed", 0, "Seed of splits, weights, augmentation and order.")
flags.DEFINE_integer("image_size", 0, "Side of the model's input in pixels; 0: the model's own.")
flags.DEFINE_integer("batch_size", 0, "Pictures a training step; 0: the model's own.")
flags.DEFINE_integer(
    "epochs",
    -1,
    "Epochs of supervised training at most; -1: the model's own, 0: none (a backbone then stays "
    "frozen).",
)
flags.DEFINE_integer(
    "pretrain_epochs",
    -1,
    "Epochs before it: reconstruction alone (autoencoder) or the head on the frozen trunk (a "
    "backbone); -1: the model's own, 0: none.",
)
flags.DEFINE_float("learning_rate", 0, "Its peak in supervised training; 0: the model's own.")
flags.DEFINE_string(
    "augment",
    "default",
    "Augmentation of the training split, such as 'flip|rotate(15)|brightness(0.2)'; "
    "'default': the model's own, '': none.",
)
flags.DEFINE_string(
    "backbone_weights",
    "imagenet",
    "What a backbone starts from: imagenet (downloaded), calibrated (random, needs no download), "
    "or the path of a keras.applications weights file.",
)
flags.DEFINE_enum(
    "resize",
    "letterbox",
    list(RESIZES),
    "How a picture becomes the model's square input: letterbox keeps its proportions.",
)
flags.DEFINE_bool(
    "standardize",
    False,
    "Give every picture the same mean and contrast before the model sees it: for light that "
    "changes from picture to picture and says nothing.",
)
flags.DEFINE_float(
    "reconstruction_weight",
    -1,
    "Weight of the reconstruction loss beside that of classification; -1: the model's own.",
)
flags.DEFINE_float(
    "evidence_weight",
    1,
    "Weight of the loss that teaches the autoencoder where the boxes are; 0: boxes are not used.",
)
flags.DEFINE_enum(
    "pretraining",
    "default",
    list(PRETRAININGS),
    "What the autoencoder reconstructs pictures from before it classifies: the picture itself, one "
    "with noise, one with parts hidden; default: the model's own.",
)
flags.DEFINE_integer(
    "labels_per_class",
    0,
    "Train the classifier with only so many labelled pictures a class, drawn by the seed; the "
    "autoencoder reconstructs the others too. 0: all.",
)
flags.DEFINE_string(
    "fine_tune_from",
    "",
    "Layer or block, by the start of its name, from which on a backbone is trained, such as "
    "block13; '': the model's own.",
)
flags.DEFINE_integer(
    "views", 0, "Augmented views of each picture that a frozen trunk sees; 0: the model's own."
)
flags.DEFINE_integer("full_epochs", 0, "Epochs with the whole backbone trained at a low rate.")
flags.DEFINE_bool(
    "mixed_precision", False, "Train in 16-bit arithmetic; the model is kept in 32 bit."
)
flags.DEFINE_string(
    "positive_class", "", "Of two classes the one that must be caught; '': nio, or the rarer one."
)
flags.DEFINE_float(
    "target_recall", 0.95, "For eval, two classes: the share of defects that must be caught."
)
flags.DEFINE_float(
    "confidence", 0.95, "For eval: how sure one must be of it, before it counts as promised."
)
flags.DEFINE_float(
    "review_budget", 0, "For eval: share of the pictures, the least certain, that a person judges."
)
flags.DEFINE_float(
    "line_defect_rate",
    0.01,
    "For eval, two classes: share of defects on the production line, for parts per million.",
)
flags.DEFINE_string(
    "baseline", None, "For eval: run directory of the model in service, to compare with."
)
flags.DEFINE_bool(
    "gate", False, "For eval: exit with status 3 if a defect that the baseline caught escapes now."
)
flags.DEFINE_string(
    "eval_records",
    None,
    "For eval: the folder records of another run: judge all its pictures by the rule there is.",
)
flags.DEFINE_bool(
    "robustness",
    False,
    "For eval: also judge the test pictures with noise, blur, other light, JPEG artefacts, shifted "
    "and turned; takes as long as 29 evaluations.",
)
flags.DEFINE_string("cam_methods", "", "For explain: such as gradcam++,layercam; '': all methods.")
flags.DEFINE_string(
    "cam_layers", "", "For explain: layers, with commas, that maps are fused of; '': the model's."
)
flags.DEFINE_string(
    "cam_class", "predicted", "For explain: whose evidence is shown: predicted, true or a class."
)
flags.DEFINE_integer(
    "feature_maps", 0, "For explain: show what every convolution gives, of so many pictures."
)
flags.DEFINE_bool(
    "faithfulness", False, "For explain: measure how far maps can be believed; takes minutes."
)
flags.DEFINE_string("images", "", "For predict: a file, a folder or a glob.")
flags.DEFINE_string("output_dir", None, "For predict: copy the pictures into one folder a class.")
flags.DEFINE_bool("strict", False, "End the run when there is anything to find fault with.")
flags.DEFINE_bool("audit_only", False, "For records: look at the data set, write no records.")
flags.DEFINE_bool("verify_pictures", True, "For records: decode every picture whole.")
flags.DEFINE_bool("near_duplicates", True, "For records: keep near-duplicates on one side.")
flags.DEFINE_string(
    "group_regex",
    "",
    "For records: keep pictures on one side in whose paths this regular expression finds the same, "
    "such as 'board(\\d+)_'.",
)
flags.DEFINE_enum("to", "tfrecord", list(TARGETS), "For records: voc writes records back.")
flags.DEFINE_integer("workers", 0, "For records: processes; 0: one a core.")

_CHAIN = ("records", "train", "eval", "explain", "export")
_MODULES = {"eval": "evaluate"}


def run_stage(settings: Settings) -> None:
    """Runs the stage asked for; `all` is the chain, and `predict` when pictures are given."""
    if settings.stage != "all":
        # Before the module is imported: the message then comes at once, without TensorFlow.
        run_dir = RunDir(settings.work_dir, settings.model)
        run_dir.require_forerunner(settings.stage)
        if settings.stage != "sample":
            run_dir.make()
            write_json(run_dir.settings(settings.stage), settings.to_json())
        if settings.stage not in ("sample", "records"):
            load_tensorflow()
        module = importlib.import_module(
            f"pipeline.stages.{_MODULES.get(settings.stage, settings.stage)}"
        )
        module.run(settings)
        return
    for stage in (*_CHAIN, "predict") if settings.images else _CHAIN:
        print(f"\n=== {stage} ===", flush=True)
        run_stage(dataclasses.replace(settings, stage=stage))


def settings_from_flags() -> Settings:
    """The flags as a checked, frozen `Settings`."""
    values = {field.name: FLAGS[field.name].value for field in dataclasses.fields(Settings)}
    if not values["work_dir"]:
        raise InputError("--work_dir is empty.", "Give a folder, or leave the flag out.")
    values["work_dir"] = Path(values["work_dir"])
    for name in ("data_dir", "output_dir", "baseline", "eval_records"):
        values[name] = Path(values[name]) if values[name] else None
    return Settings(**values)


def main(argv: list[str]) -> None:
    """Runs a stage; a fault that the user can mend is one message and exit status 2."""
    # Names of pictures may not fit the terminal's encoding.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.set_verbosity(logging.WARNING)  # TensorFlow's notes on how it saves a model
    try:
        if len(argv) > 1:
            raise InputError(
                f"{argv[1]!r} is no flag.", "Write every option as --name=value; see --help."
            )
        run_stage(settings_from_flags())
    except InputError as error:
        print(f"\nnioscope: {error}", file=sys.stderr)
        sys.exit(2)
    except GateError as failure:
        print(f"\nnioscope: --gate: {failure}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt as stop:
        print(" ".join(["\nnioscope: stopped.", *map(str, stop.args)]), file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if not error.filename:
            raise
        print(
            f"\nnioscope: {error.filename}: {error.strerror}.\n"
            "  Remedy: look whether it is there, of the right kind, and yours to read or write, "
            "and whether the disk has room.",
            file=sys.stderr,
        )
        sys.exit(2)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a flag that cannot be read ends with status 2 as all bad input."""
    try:
        return FLAGS(argv)
    except flags.Error as error:
        print(f"\nnioscope: {error}\n  Remedy: see python main.py --help.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
