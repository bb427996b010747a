"""What a run was asked to do, checked before any work starts.

Each field of `Settings` is a flag of the command line: `main` defines the flags from them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.flag_checks import FOR_SOME_STAGES, check_flag, check_together
from records.remote import Url

STAGES = ("sample", "records", "train", "eval", "explain", "export", "predict", "all")
TARGETS = ("tfrecord", "voc")
RESIZES = ("letterbox", "stretch")
PRETRAININGS = ("default", "plain", "denoising", "masked")
CAM_METHODS = ("gradcam", "gradcam++", "smoothgradcam++", "xgradcam", "layercam")
LAYOUTS = ("auto", "split", "voc", "images", "folders", "flat")
PRECISIONS = ("float32", "bfloat16")
SORTINGS = ("class", "decision")
DISTRIBUTIONS = ("none", "mirrored", "multiworker")


def _flag(
    default: object,
    meaning: str,
    *,
    choices: Sequence[str] = (),
    several_of: Sequence[str] = (),
    least: int | None = None,
) -> Any:
    """A field, with what `--help` says of it and what `check_flag` takes."""
    metadata = {"help": meaning, "choices": choices, "several_of": several_of, "least": least}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The flags of one invocation; `0`, `-1` or empty stands for the model's own where it says so.

    Raises:
        InputError: A value is out of range, or a flag that the stage needs is missing.
    """

    stage: str = _flag("all", "What to run.", choices=STAGES)
    data_dir: Path | Url | None = _flag(
        None, "Folder of pictures (or URL, such as gs://) that `records` reads or `sample` writes."
    )
    layout: str = _flag("auto", "How data_dir is laid out.", choices=LAYOUTS)
    work_dir: Path = _flag(Path("run"), "Run directory: everything a run makes goes in here.")
    model: str = _flag("autoencoder", "Which model.")
    seed: int = _flag(0, "Seed of splits, weights, augmentation and order.", least=0)
    image_size: int = _flag(
        0, "Side of the model's square input in pixels; 0: the model's own.", least=0
    )
    batch_size: int = _flag(0, "Pictures a training step; 0: the model's own.", least=0)
    epochs: int = _flag(
        -1,
        "Epochs of supervised training at most; -1: the model's own, 0: none (a backbone then "
        "stays frozen).",
        least=-1,
    )
    pretrain_epochs: int = _flag(
        -1,
        "Epochs before it: reconstruction alone (autoencoder) or the head on the frozen trunk (a "
        "backbone); -1: the model's own, 0: none.",
        least=-1,
    )
    learning_rate: float = _flag(
        0.0,
        "Its peak in supervised training, of which other phases take their share; 0: the model's "
        "own.",
    )
    augment: str = _flag(
        "default",
        "Augmentation of the training split, such as 'flip|rotate(15)|brightness(0.2)'; "
        "'default': the model's own, '': none.",
    )
    backbone_weights: str = _flag(
        "imagenet",
        "What a backbone starts from: imagenet (downloaded), calibrated (random, needs no "
        "download), or the path of a keras.applications weights file.",
    )
    resize: str = _flag(
        "letterbox",
        "How a picture becomes the model's square input: letterbox keeps its proportions.",
        choices=RESIZES,
    )
    standardize: bool = _flag(
        False,
        "Give every picture the same mean and contrast before the model sees it: for light that "
        "changes from picture to picture and says nothing.",
    )
    reconstruction_weight: float = _flag(
        -1.0,
        "Weight of the reconstruction loss beside that of classification; -1: the model's own.",
    )
    evidence_weight: float = _flag(
        1.0,
        "Weight of the loss that teaches the autoencoder where the boxes are; 0: boxes are not "
        "used.",
    )
    pretraining: str = _flag(
        "default",
        "What the autoencoder reconstructs pictures from before it classifies: the picture "
        "itself, one with noise, one with parts hidden; default: the model's own.",
        choices=PRETRAININGS,
    )
    labels_per_class: int = _flag(
        0,
        "Train the classifier with only so many labelled pictures a class, drawn by the seed; the "
        "autoencoder reconstructs the others too. 0: all.",
        least=0,
    )
    fine_tune_from: str = _flag(
        "",
        "Layer or block, by the start of its name, from which on a backbone is trained, such as "
        "block13; '': the model's own.",
    )
    views: int = _flag(
        0,
        "Augmented views of each picture that a frozen trunk sees; 0: the model's own.",
        least=0,
    )
    full_epochs: int = _flag(0, "Epochs with the whole backbone trained at a low rate.", least=0)
    distribute: str = _flag(
        "none",
        "For train: mirrored trains on all GPUs of this machine, multiworker on all machines that "
        "the environment variable TF_CONFIG names.",
        choices=DISTRIBUTIONS,
    )
    parts: int = _flag(
        0,
        "For train: parts that the files of the training pictures are dealt into, "
        "each of which gives its share of every batch; the same parts train the same on any number "
        "of machines. 0: one a machine.",
        least=0,
    )
    mixed_precision: bool = _flag(False, "Train in 16-bit arithmetic; the model is kept in 32 bit.")
    positive_class: str = _flag(
        "", "Of two classes the one that must be caught; '': nio, or the rarer one."
    )
    target_recall: float = _flag(
        0.95, "For eval, two classes: the share of defects that must be caught."
    )
    confidence: float = _flag(
        0.95, "For eval: how sure one must be of it, before it counts as promised."
    )
    review_budget: float = _flag(
        0.0, "For eval: share of the pictures, the least certain, that a person judges."
    )
    line_defect_rate: float = _flag(
        0.01,
        "For eval, two classes: share of defects on the production line, for parts per million.",
    )
    baseline: Path | None = _flag(
        None, "For eval: run directory of the model in service, to compare with."
    )
    gate: bool = _flag(
        False, "For eval: exit with status 3 if a defect that the baseline caught escapes now."
    )
    eval_records: Path | None = _flag(
        None,
        "For eval: the folder records of another run: judge all its pictures by the rule there is.",
    )
    robustness: bool = _flag(
        False,
        "For eval: also judge the test pictures with noise, blur, other light, JPEG artefacts, "
        "shifted and turned; takes as long as 29 evaluations.",
    )
    cam_methods: str = _flag(
        "", "For explain: such as gradcam++,layercam; '': all methods.", several_of=CAM_METHODS
    )
    cam_layers: str = _flag(
        "", "For explain: layers, with commas, that maps are fused of; '': the model's."
    )
    cam_class: str = _flag(
        "predicted", "For explain: whose evidence is shown: predicted, true or a class."
    )
    feature_maps: int = _flag(
        0, "For explain: show what every convolution gives, of so many pictures.", least=0
    )
    faithfulness: bool = _flag(
        False, "For explain: measure how far maps can be believed; takes minutes."
    )
    export_precision: str = _flag(
        "float32",
        "For export: bfloat16 computes in 16 bit; published only if no decision changes.",
        choices=PRECISIONS,
    )
    keep_versions: int = _flag(
        0, "For export: remove the oldest versions of ours beyond so many; 0: keep all.", least=0
    )
    images: str = _flag(
        "",
        "For predict: a file, folder or glob, as path or URL, or - for a list on standard input.",
    )
    output_dir: Path | None = _flag(None, "For predict: copy the pictures into one folder a class.")
    sort_by: str = _flag(
        "class", "For predict: copies go into one folder a class, or a decision.", choices=SORTINGS
    )
    overlays: bool = _flag(False, "For predict: draw where the model looked over each picture.")
    watch: bool = _flag(False, "For predict: go on judging pictures that arrive in the folder.")
    strict: bool = _flag(False, "End the run when there is anything to find fault with.")
    audit_only: bool = _flag(False, "For records: look at the data set, write no records.")
    verify_pictures: bool = _flag(True, "For records: decode every picture whole.")
    near_duplicates: bool = _flag(True, "For records: keep near-duplicates on one side.")
    group_regex: str = _flag(
        "",
        "For records: keep pictures on one side in whose paths this regular expression finds the "
        "same, such as 'board(\\d+)_'.",
    )
    to: str = _flag("tfrecord", "For records: voc writes records back.", choices=TARGETS)
    workers: int = _flag(0, "For records: processes; 0: one a core.", least=0)
    shard_mb: int = _flag(
        32,
        "For records: megabytes of pictures a file holds at most, roughly; less makes more files, "
        "of which train --distribute=multiworker needs one a worker.",
        least=1,
    )
    scheduler: str = _flag(
        "",
        "For records and predict: address of a Dask scheduler, such as tcp://host:8786, whose "
        "workers do the work. They need the same requirements, this checkout, and the same files "
        "under the same paths. Who reaches the scheduler can run anything there.",
    )

    def __post_init__(self) -> None:
        """Checks what can be checked without opening a file."""
        for field in dataclasses.fields(self):
            check_flag(field.name, getattr(self, field.name), **field.metadata)
        check_together(self)

    def for_stage(self, stage: str) -> Settings:
        """Those that `all` hands to one of its stages: without what is for another stage alone."""
        others = {
            name: getattr(type(self), name)
            for name, own in FOR_SOME_STAGES.items()
            if stage not in own
        }
        return dataclasses.replace(self, stage=stage, **others)

    def to_json(self) -> dict[str, Any]:
        """The flags as JSON values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: str(v) if isinstance(v, Path | Url) else v for name, v in values.items()}
