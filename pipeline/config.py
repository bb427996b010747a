"""What a run was asked to do, checked before any work starts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.flag_checks import (
    LEAST,
    require_one_of,
    require_regex,
    require_weight,
    split_names,
)
from pipeline.operations import parse_augmentation
from records.errors import InputError

STAGES = ("sample", "records", "train", "eval", "explain", "export", "predict", "all")
BACKBONE_WEIGHTS = ("imagenet", "calibrated")
TARGETS = ("tfrecord", "voc")
RESIZES = ("letterbox", "stretch")
PRETRAININGS = ("default", "plain", "denoising", "masked")
CAM_METHODS = ("gradcam", "gradcam++", "smoothgradcam++", "xgradcam", "layercam")
LAYOUTS = ("auto", "split", "voc", "images", "folders", "flat")


@dataclass(frozen=True)
class Settings:
    """The flags of one invocation. What stands after "or" means "the model's own default".

    Attributes:
        stage: Which stage to run, one of `STAGES`.
        data_dir: Folder of pictures; `sample` writes it, `records` reads it.
        layout: How `data_dir` is laid out, one of `LAYOUTS`.
        work_dir: The run directory.
        model: Which model; the command line offers those of `models.registry`.
        seed: Seed of every draw: splits, weights, augmentation, order.
        image_size: Side of the model's square input in pixels, or 0.
        batch_size: Pictures a training step, or 0.
        epochs: Epochs of supervised training at most, or -1; 0 leaves a backbone's fine-tuning out.
        pretrain_epochs: Epochs before it (reconstruction, or head on the frozen trunk), or -1 for
            the model's default; 0 leaves that phase out.
        learning_rate: Its peak in supervised training, or 0; other phases take their share of it.
        augment: Augmentation of the training split, as `pipeline.operations` reads it; `default` is
            the model's own, an empty string none.
        backbone_weights: `imagenet`, `calibrated` or the path of a weights file.
        resize: How a picture becomes the model's square input, one of `RESIZES`.
        standardize: Whether a picture's mean and contrast are evened out before the model sees it.
        reconstruction_weight: Weight of the reconstruction loss beside that of classification, or
            -1.
        evidence_weight: Weight of the loss of the evidence, which is taught where boxes are.
        pretraining: What the autoencoder reconstructs from before it classifies, one of
            `PRETRAININGS`; `default` is the model's own.
        labels_per_class: Labelled training pictures of each class that the classifier is trained
            with; 0: all.
        fine_tune_from: Layer or block, by the start of its name, from which on a backbone is
            trained, or empty.
        views: Augmented views of each picture that the frozen trunk sees, or 0.
        full_epochs: Epochs with the whole backbone trained at a low rate.
        mixed_precision: Whether training computes in 16 bit.
        positive_class: The class that must be caught, or empty: `nio`, or the rarer of two.
        target_recall: For `eval`, two classes: share of the defects to be caught, in (0, 1).
        confidence: For `eval`: confidence with which it must be, in (0, 1).
        review_budget: For `eval`: share of the pictures that a person judges, in [0, 1).
        line_defect_rate: For `eval`: share of defects on the production line, in [0, 1].
        baseline: For `eval`: run directory of the model in service, or None.
        gate: For `eval`: whether a defect that only the baseline catches ends the run with 3.
        eval_records: For `eval`: a folder of other records to evaluate on, or None.
        robustness: For `eval`: whether the test pictures are judged perturbed as well.
        cam_methods: For `explain`: methods of class activation maps, of `CAM_METHODS`, divided by
            commas; empty: all.
        cam_layers: For `explain`: layer that the maps are made of, or several, fused, divided by
            commas; empty: the model's own.
        cam_class: For `explain`: the class whose evidence is shown: `predicted`, `true` or a name.
        feature_maps: For `explain`: of how many pictures every convolution is shown.
        faithfulness: For `explain`: whether it is measured how far the maps can be believed.
        images: For `predict`: a file, a folder or a glob.
        output_dir: For `predict`: where to copy pictures into one folder a class, or None.
        strict: Whether anything to find fault with ends the run.
        audit_only: For `records`: whether to look at the data set and write no records.
        verify_pictures: For `records`: whether to decode every picture whole.
        near_duplicates: For `records`: whether to look for near-duplicates and keep them together.
        group_regex: For `records`: pictures whose paths it finds the same in stay together.
        to: For `records`: `tfrecord`, or `voc` to write records back as pictures and VOC XML.
        workers: Processes of `records`; 0: one a core.
    """

    stage: str = "all"
    data_dir: Path | None = None
    layout: str = "auto"
    work_dir: Path = Path("run")
    model: str = "autoencoder"
    seed: int = 0
    image_size: int = 0
    batch_size: int = 0
    epochs: int = -1
    pretrain_epochs: int = -1
    learning_rate: float = 0.0
    augment: str = "default"
    backbone_weights: str = "imagenet"
    resize: str = "letterbox"
    standardize: bool = False
    reconstruction_weight: float = -1.0
    evidence_weight: float = 1.0
    pretraining: str = "default"
    labels_per_class: int = 0
    fine_tune_from: str = ""
    views: int = 0
    full_epochs: int = 0
    mixed_precision: bool = False
    positive_class: str = ""
    target_recall: float = 0.95
    confidence: float = 0.95
    review_budget: float = 0.0
    line_defect_rate: float = 0.01
    baseline: Path | None = None
    gate: bool = False
    eval_records: Path | None = None
    robustness: bool = False
    cam_methods: str = ""
    cam_layers: str = ""
    cam_class: str = "predicted"
    feature_maps: int = 0
    faithfulness: bool = False
    images: str = ""
    output_dir: Path | None = None
    strict: bool = False
    audit_only: bool = False
    verify_pictures: bool = True
    near_duplicates: bool = True
    group_regex: str = ""
    to: str = "tfrecord"
    workers: int = 0

    def __post_init__(self) -> None:
        """Checks what can be checked without opening a file.

        Raises:
            InputError: A value is out of range or a flag that the stage needs is missing.
        """
        require_one_of("stage", self.stage, STAGES)
        require_one_of("layout", self.layout, LAYOUTS)
        require_one_of("to", self.to, TARGETS)
        require_one_of("resize", self.resize, RESIZES)
        require_one_of("pretraining", self.pretraining, PRETRAININGS)
        if not 0 <= self.learning_rate <= 1:
            raise InputError(
                f"--learning_rate={self.learning_rate:g} is no learning rate.",
                "Give a small number such as 0.001, or 0 for the model's own.",
            )
        for method in split_names(self.cam_methods):
            require_one_of("cam_methods", method, CAM_METHODS)
        require_weight("reconstruction_weight", self.reconstruction_weight, own=True)
        require_weight("evidence_weight", self.evidence_weight, own=False)
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise InputError(f"--{name}={value} is too small.", f"Give {least} or more.")
        if 0 < self.image_size < 32:
            raise InputError(
                f"--image_size={self.image_size} is too small: the models halve the picture "
                "three to five times.",
                "Give 32 or more, or leave the flag out for the model's own size.",
            )
        if self.augment != "default":
            parse_augmentation(self.augment)
        self._check_folders()
        self._check_evaluation()
        weights = self.backbone_weights
        if weights not in BACKBONE_WEIGHTS and not Path(weights).is_file():
            raise InputError(
                f"--backbone_weights={weights}: there is no such file.",
                f"Give the path of a weights file, or one of: {', '.join(BACKBONE_WEIGHTS)}.",
            )
        if self.audit_only and self.to == "voc":
            raise InputError(
                "--audit_only writes nothing, --to=voc does.", "Leave one of them out."
            )
        if self.workers > 1024:
            raise InputError(f"--workers={self.workers} is too large.", "Give 1024 or fewer.")
        for name in ("audit_only", "to"):
            if getattr(self, name) not in (False, "tfrecord") and self.stage != "records":
                raise InputError(
                    f"--{name} is for --stage=records, not for --stage={self.stage}.",
                    "Add --stage=records, or leave it out.",
                )
        require_regex(self.group_regex)
        if self.stage == "predict" and not self.images:
            raise InputError(
                "--stage=predict needs pictures to judge.",
                "Add --images=FILE, --images=FOLDER or --images='FOLDER/*.png'.",
            )
        if self.seed > 2**32 - 1:
            raise InputError(f"--seed={self.seed} is too large.", "Give a number below 2^32.")

    def to_json(self) -> dict[str, Any]:
        """The flags as JSON values."""
        values = dataclasses.asdict(self)
        return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}

    def _check_evaluation(self) -> None:
        for name, is_fine, range_ in (
            ("target_recall", 0 < self.target_recall < 1, "above 0 and below 1"),
            ("confidence", 0 < self.confidence < 1, "above 0 and below 1"),
            ("review_budget", 0 <= self.review_budget < 1, "from 0 on and below 1"),
            ("line_defect_rate", 0 <= self.line_defect_rate <= 1, "from 0 to 1"),
        ):
            if not is_fine:
                value = getattr(self, name)
                raise InputError(f"--{name}={value:g} is no such share.", f"Give one {range_}.")
        if self.gate and self.baseline is None:
            raise InputError(
                "--gate compares with another model.", "Add --baseline=RUN, its run directory."
            )

    def _check_folders(self) -> None:
        needs_pictures = self.stage in ("sample", "records", "all") and self.to != "voc"
        if needs_pictures and self.data_dir is None:
            raise InputError(
                f"--stage={self.stage} needs the folder of pictures.", "Add --data_dir=FOLDER."
            )
        if self.data_dir is None or self.stage not in ("records", "all"):
            return
        if not self.data_dir.is_dir():
            raise InputError(
                f"--data_dir={self.data_dir} is no folder.", "Give the folder of the pictures."
            )
        if self.work_dir.resolve().is_relative_to(self.data_dir.resolve()):
            raise InputError(
                f"--work_dir={self.work_dir} lies in --data_dir={self.data_dir}: what a run writes "
                "would be taken for pictures by the next.",
                "Give a --work_dir outside the folder of pictures.",
            )
