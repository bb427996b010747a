"""What is checked of the flags: of each by itself, and of those that belong together."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.evaluated_run import find_evaluated
from pipeline.inputs.operations import parse_augmentation
from records.cluster import require_cluster
from records.errors import InputError
from records.places import locate
from records.remote import Url

if TYPE_CHECKING:
    from pipeline.config import Settings

BACKBONE_WEIGHTS = ("imagenet", "calibrated")
FOR_ONE_STAGE = {
    "audit_only": "records",
    "to": "records",
    "keep_versions": "export",
    "export_precision": "export",
    "overlays": "predict",
    "watch": "predict",
    "sort_by": "predict",
    "distribute": "train",
    "parts": "train",
}
FOR_SOME_STAGES = {
    **{name: (stage,) for name, stage in FOR_ONE_STAGE.items()},
    "scheduler": ("records", "predict"),
    "shard_mb": ("records", "all"),
}


def split_names(text: str) -> list[str]:
    """The names in a flag that takes several, divided by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def check_flag(
    name: str,
    value: Any,
    *,
    choices: Sequence[str],
    several_of: Sequence[str],
    least: int | None,
    **_: object,
) -> None:
    """Checks one flag by itself.

    Args:
        name: Of the flag.
        value: What it was given.
        choices: What it may be, if that can be listed.
        several_of: What each of the names in it may be, likewise.
        least: The smallest number it may be.

    Raises:
        InputError: It is something else.
    """
    if "\0" in str(value):  # No path can hold it, and no command line; a --flagfile can.
        raise InputError(f"--{name} holds a NUL character.", "Take it out of the --flagfile.")
    for part in [value] if choices else split_names(value) if several_of else []:
        known = choices or several_of
        if part not in known:
            raise InputError(f"--{name}={part} is unknown.", f"Give one of: {', '.join(known)}.")
    if least is not None and value < least:
        raise InputError(f"--{name}={value} is too small.", f"Give {least} or more.")


def check_together(settings: Settings) -> None:
    """Checks what a list of choices or a smallest number cannot say.

    Raises:
        InputError: A value is out of range, or a flag that the stage needs is missing.
    """
    _check_folders(settings)
    _check_training(settings)
    _check_evaluation(settings)
    _check_stage(settings)


def _check_folders(settings: Settings) -> None:
    needs_pictures = settings.stage in ("sample", "records", "all") and settings.to != "voc"
    if needs_pictures and settings.data_dir is None:
        raise InputError(
            f"--stage={settings.stage} needs the folder of pictures.", "Add --data_dir=FOLDER."
        )
    if settings.stage == "sample" and isinstance(settings.data_dir, Url):
        raise InputError(
            f"--data_dir={settings.data_dir} is a URL, and --stage=sample writes to a folder.",
            "Give a folder of this machine, and copy what was drawn to the URL.",
        )
    if settings.data_dir is None or settings.stage not in ("records", "all"):
        return
    if not settings.data_dir.is_dir():
        raise InputError(
            f"--data_dir={settings.data_dir} is no folder.", "Give the folder of the pictures."
        )
    if isinstance(settings.data_dir, Url):
        return
    if settings.work_dir.resolve().is_relative_to(settings.data_dir.resolve()):
        raise InputError(
            f"--work_dir={settings.work_dir} lies in --data_dir={settings.data_dir}: what a run "
            "writes would be taken for pictures by the next.",
            "Give a --work_dir outside the folder of pictures.",
        )


def _check_training(settings: Settings) -> None:
    if not 0 <= settings.learning_rate <= 1:
        raise InputError(
            f"--learning_rate={settings.learning_rate:g} is no learning rate.",
            "Give a small number such as 0.001, or 0 for the model's own.",
        )
    for name, own in (("reconstruction_weight", True), ("evidence_weight", False)):
        _require_weight(name, getattr(settings, name), own=own)
    if 0 < settings.image_size < 32:
        raise InputError(
            f"--image_size={settings.image_size} is too small: the models halve the picture "
            "three to five times.",
            "Give 32 or more, or leave the flag out for the model's own size.",
        )
    if settings.augment != "default":
        parse_augmentation(settings.augment)
    weights = settings.backbone_weights
    if weights not in BACKBONE_WEIGHTS and not Path(weights).is_file():
        raise InputError(
            f"--backbone_weights={weights}: there is no such file.",
            f"Give the path of a weights file, or one of: {', '.join(BACKBONE_WEIGHTS)}.",
        )
    if settings.seed > 2**32 - 1:
        raise InputError(f"--seed={settings.seed} is too large.", "Give a number below 2^32.")
    if settings.distribute == "multiworker" and settings.stage == "all":
        raise InputError(
            "--distribute=multiworker is for --stage=train: the other stages run on one machine.",
            "Run --stage=records first, then --stage=train on every worker.",
        )


def _check_evaluation(settings: Settings) -> None:
    for name, is_fine, range_ in (
        ("target_recall", 0 < settings.target_recall < 1, "above 0 and below 1"),
        ("confidence", 0 < settings.confidence < 1, "above 0 and below 1"),
        ("review_budget", 0 <= settings.review_budget < 1, "from 0 on and below 1"),
        ("line_defect_rate", 0 <= settings.line_defect_rate <= 1, "from 0 to 1"),
    ):
        if not is_fine:
            value = getattr(settings, name)
            raise InputError(f"--{name}={value:g} is no such share.", f"Give one {range_}.")
    if settings.gate and settings.baseline is None:
        raise InputError("--gate compares with another model.", "Add --baseline=RUN.")
    if settings.baseline is not None and settings.stage in ("eval", "all"):
        find_evaluated(settings.baseline, settings.model)  # Not only after hours of training.
    if settings.eval_records and settings.stage == "all":
        raise InputError(
            "--eval_records judges by the rule of an earlier evaluation, which --stage=all makes "
            "anew.",
            "Leave it out, then give it with --stage=eval.",
        )


def _check_stage(settings: Settings) -> None:
    if settings.audit_only and settings.to == "voc":
        raise InputError("--audit_only writes nothing, --to=voc does.", "Leave one of them out.")
    for name, most in (("workers", 1024), ("shard_mb", 4096)):
        if (value := getattr(settings, name)) > most:
            raise InputError(f"--{name}={value} is too large.", f"Give {most} or fewer.")
    defaults = type(settings)
    for name, stages in FOR_SOME_STAGES.items():
        if getattr(settings, name) == getattr(defaults, name):
            continue
        chain = settings.stage == "all" and stages != ("records",)
        if settings.stage not in stages and not chain:
            raise InputError(
                f"--{name} is for --stage={' and '.join(stages)}, not for "
                f"--stage={settings.stage}.",
                f"Add --stage={stages[0]}, or leave it out.",
            )
        if chain and stages == ("predict",) and not settings.images:
            raise InputError(
                f"--{name} is for pictures that are judged, and there are none to judge.",
                f"Add --images=FOLDER, or leave --{name} out.",
            )
    if settings.scheduler:
        _check_cluster(settings)
    _require_regex(settings.group_regex)
    if settings.stage == "predict" and not settings.images:
        raise InputError(
            "--stage=predict needs pictures to judge.",
            "Add --images=FILE, --images=FOLDER or --images='FOLDER/*.png'.",
        )
    if settings.watch and isinstance(locate(settings.images), Url):
        raise InputError(
            f"--watch looks at a folder of this machine, and --images={settings.images} is a URL.",
            "Leave --watch out and give the same command from time to time, or mount the folder.",
        )


def _check_cluster(settings: Settings) -> None:
    require_cluster(settings.scheduler)
    for name, reason in (
        ("workers", "is for this machine's processes; a cluster has its own"),
        ("to", "is work for one process"),
        ("watch", "judges pictures as they come, by this machine"),
        ("overlays", "is drawn by this machine, from pictures that it judged itself"),
    ):
        value = getattr(settings, name)
        if value != getattr(type(settings), name):
            raise InputError(
                f"--{name} does not go with --scheduler: it {reason}.", "Leave one of them out."
            )


def _require_weight(name: str, weight: float, *, own: bool) -> None:
    """Own: or -1, which stands for the model's own."""
    if not (0 <= weight < math.inf or (own and weight == -1)):
        remedy = "Give 0 or more, or -1 for the model's own." if own else "Give 0 or more."
        raise InputError(f"--{name}={weight:g} is no weight.", remedy)


def _require_regex(text: str) -> None:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"--group_regex={text} is no regular expression: {error}.",
            r"Give one such as 'board(\d+)_': pictures with the same number stay together.",
        ) from error
