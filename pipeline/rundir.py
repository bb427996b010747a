"""The run directory: the one class that knows where everything is."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from records.atomic import remove_tree
from records.errors import InputError


@dataclass(frozen=True)
class RunDir:
    """Paths below `--work_dir` (DESIGN: `records/` is shared, the rest is one folder a model).

    Args:
        root: The run directory.
        model: Name of the model, `autoencoder` or `xception`.
        evaluation: Name of the folder of the evaluation.
        judged: Records that it is about, where they are not those of the run.
    """

    root: Path
    model: str
    evaluation: str = "eval"
    judged: Path | None = None

    def judging(self, records: Path, digest: str) -> RunDir:
        """The same run, but for an evaluation on other records, which gets a folder of its own."""
        return RunDir(self.root, self.model, f"eval-{digest[:12]}", records)

    @property
    def records(self) -> Path:
        """TFRecords, manifest and audit."""
        return self.judged or self.root / "records"

    @property
    def records_lock(self) -> Path:
        """Held by the run that writes records, shared by those that read them."""
        return self.root / "settings" / "records.lock"

    @property
    def audit(self) -> Path:
        """Audit of a `records` run that wrote no records; the others' is in `records`."""
        return self.root / "audit"

    def settings(self, stage: str) -> Path:
        """The flags that a stage was last started with."""
        return self.root / "settings" / f"{self.model}-{stage}.json"

    @property
    def model_dir(self) -> Path:
        """Everything of one model."""
        return self.root / self.model

    @property
    def config(self) -> Path:
        """What a later stage needs of the model: see `pipeline.modelfacts`."""
        return self.model_dir / "config.json"

    @property
    def weights(self) -> Path:
        """The trained model in Keras' own format."""
        return self.model_dir / "model.keras"

    @property
    def history(self) -> Path:
        """Loss and metrics of every epoch."""
        return self.model_dir / "history.csv"

    @property
    def history_plot(self) -> Path:
        """The same as curves."""
        return self.model_dir / "history.png"

    @property
    def logs(self) -> Path:
        """TensorBoard event files."""
        return self.model_dir / "logs"

    @property
    def trunk_cache(self) -> Path:
        """What a frozen trunk says of the pictures, kept for later trainings."""
        return self.model_dir / "trunk"

    @property
    def eval(self) -> Path:
        """The evaluation: metrics, predictions, matrices, curves, threshold."""
        return self.model_dir / self.evaluation

    @property
    def metrics(self) -> Path:
        """The evaluation in figures."""
        return self.eval / "metrics.json"

    @property
    def predictions(self) -> Path:
        """The evaluation's answer for each test picture."""
        return self.eval / "predictions.csv"

    @property
    def threshold(self) -> Path:
        """The decision threshold and how it was chosen."""
        return self.eval / "threshold.json"

    @property
    def explain(self) -> Path:
        """Maps of where the model looked."""
        return (self.eval if self.judged else self.model_dir) / "explain"

    @property
    def report(self) -> Path:
        """The self-contained page."""
        return (self.eval if self.judged else self.model_dir) / "report.html"

    @property
    def export(self) -> Path:
        """One numbered folder a SavedModel: what TensorFlow Serving polls."""
        return self.model_dir / "export"

    @property
    def predict(self) -> Path:
        """Answers for new pictures, where no `--output_dir` was given."""
        return self.model_dir / "predict"

    def make(self) -> None:
        """Creates the run directory.

        Raises:
            InputError: It cannot be created or written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.root).close()
        except OSError as error:
            raise InputError(
                f"The run directory {self.root} cannot be written: {error.strerror}.",
                "Give another --work_dir, or change the folder's permissions.",
            ) from error

    @property
    def model_lock(self) -> Path:
        """Held by the one run that writes anything of this model but answers."""
        return self.root / "settings" / f"{self.model}.lock"

    @property
    def checkpoint(self) -> RunDir:
        """Where a training works until it is whole: the same paths, one folder further down."""
        return RunDir(self.root, f"{self.model}/checkpoint")

    @property
    def training_plan(self) -> Path:
        """What a training is to do; only one that is to do the same goes on from the state."""
        return self.model_dir / "plan.json"

    @property
    def finished_state(self) -> Path:
        """Of an unfinished training: the model after the last finished phase."""
        return self.model_dir / "finished.state"

    @property
    def epoch_state(self) -> Path:
        """Of an unfinished training: where the current phase is."""
        return self.model_dir / "epoch.state"

    @property
    def pictures(self) -> Path:
        """Decoded pictures, there only while training runs."""
        return self.model_dir / "pictures"

    @property
    def can_resume(self) -> bool:
        """Whether there is something a training goes on from."""
        return self.finished_state.exists() or self.epoch_state.exists()

    @contextlib.contextmanager
    def replacing_model(self) -> Iterator[RunDir]:
        """Yields `checkpoint`; puts what it holds in the model's place when all went well.

        It may hold what an interrupted training left. When the block raises, the earlier model is
        as it was; `checkpoint` stays if a later training can go on from it, without the pictures.

        Raises:
            InputError: A link is in the place of `checkpoint`.
        """
        draft = self.checkpoint
        if draft.model_dir.is_symlink():
            raise InputError(
                f"{draft.model_dir} is a link, and what it leads to would be removed.", "Remove it."
            )
        draft.model_dir.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            self._adopt(draft)
        except BaseException:
            shutil.rmtree(
                draft.pictures if draft.can_resume else draft.model_dir, ignore_errors=True
            )
            raise
        shutil.rmtree(draft.model_dir)

    def _adopt(self, new: RunDir) -> None:
        """Puts what `new` holds in the place of an earlier model.

        What was evaluated, explained and reported of the earlier model goes with it. Its
        SavedModels stay: they are whole in themselves and may be in service.
        """
        # The config goes first and comes last: without it no stage takes the rest for whole. What
        # is killed in between is adopted again by the training that goes on.
        for path in (self.config, self.report):
            path.unlink(missing_ok=True)
        drafts = (path for name in ("eval", "explain") for path in self.model_dir.glob(f"{name}-*"))
        for folder in (self.eval, self.explain, *drafts):
            remove_tree(folder)
        if new.logs.exists():
            remove_tree(self.logs)
            new.logs.rename(self.logs)
        for name in ("history", "history_plot", "weights", "config"):
            getattr(new, name).replace(getattr(self, name))

    def require_forerunner(self, stage: str) -> None:
        """Looks whether what `stage` starts from is there.

        Raises:
            InputError: It is not; the message says which stage makes it, and the command.
        """
        for needed, maker in self._forerunners(stage):
            if not needed.exists():
                model = f" --model={self.model}" if maker != "records" else " --data_dir=FOLDER"
                raise InputError(
                    f"{needed} is missing: the stage {maker} has not been run here, or not to "
                    "its end.",
                    f"Run: python main.py --stage={maker} --work_dir={self.root}{model}",
                )

    def _forerunners(self, stage: str) -> tuple[tuple[Path, str], ...]:
        records = (self.records / "manifest.json", "records")
        trained, evaluated = (self.config, "train"), (self.metrics, "eval")
        return {
            "train": (records,),
            "eval": (records, trained),
            "explain": (records, trained, evaluated),
            "export": (records, trained, evaluated),
            "predict": ((self.export, "export"),),
        }.get(stage, ())
