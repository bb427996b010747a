"""The run directory: the one class that knows where everything is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from records.errors import InputError


@dataclass(frozen=True)
class RunDir:
    """Paths below `--work_dir` (DESIGN: `records/` is shared, the rest is one folder a model).

    Args:
        root: The run directory.
        model: Name of the model, `autoencoder` or `xception`.
    """

    root: Path
    model: str

    @property
    def records(self) -> Path:
        """TFRecords, manifest and audit."""
        return self.root / "records"

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
    def logs(self) -> Path:
        """TensorBoard event files."""
        return self.model_dir / "logs"

    @property
    def eval(self) -> Path:
        """The evaluation: metrics, predictions, matrices, curves, threshold."""
        return self.model_dir / "eval"

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
        return self.model_dir / "explain"

    @property
    def report(self) -> Path:
        """The self-contained page."""
        return self.model_dir / "report.html"

    @property
    def export(self) -> Path:
        """One numbered folder a SavedModel: what TensorFlow Serving polls."""
        return self.model_dir / "export"

    def make(self) -> None:
        """Creates the run directory.

        Raises:
            InputError: It cannot be created or written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"The run directory {self.root} cannot be written: {error.strerror}.",
                "Give another --work_dir, or change the folder's permissions.",
            ) from error

    def require(self, path: Path, *, stage: str) -> Path:
        """Returns `path` when it exists, else says which stage makes it.

        Raises:
            InputError: The forerunner `stage` has not been run in this directory.
        """
        if not path.exists():
            raise InputError(
                f"{path} is missing: the stage {stage} has not been run here.",
                f"Run: python main.py --stage={stage} --work_dir={self.root}"
                + (f" --model={self.model}" if stage != "records" else " --data_dir=FOLDER"),
            )
        return path
