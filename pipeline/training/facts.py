"""What `config.json` says of a model that was just trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pipeline import provenance
from pipeline.modelfacts import ModelFacts, choose_fail_classes
from pipeline.rundir import RunDir
from pipeline.training.phases import PhaseOutcome
from pipeline.training.plan import TrainingPlan
from pipeline.training.run import TrainingRun
from records.manifest import file_digest

# Facts of the model that the plan holds under the same names.
_SHARED = (
    *("model", "classes", "positive_class", "image_size", "channels", "resize"),
    *("standardize", "seed", "records_digest", "versions", "git_commit"),
)


def make_facts(
    plan: TrainingPlan,
    draft: RunDir,
    run: TrainingRun,
    outcomes: Sequence[PhaseOutcome],
    *,
    cam_layer: str,
    **others: Any,
) -> ModelFacts:
    """Puts together what a later stage needs, and what made the model.

    Args:
        plan: What the training was to do.
        draft: Where its weights are.
        run: The training.
        outcomes: What its phases did.
        cam_layer: Layer that maps are made of.
        **others: More facts of the training, JSON values.
    """
    training = {
        **plan.to_json(),
        **others,
        "phases": [dataclasses.asdict(outcome) for outcome in outcomes],
        "seconds": round(run.seconds, 1),
        "input_wait_fraction": round(run.input_wait_fraction, 5),
        **provenance.machine(),
    }
    return ModelFacts(
        fail_classes=choose_fail_classes(plan.classes, positive_class=plan.positive_class),
        cam_layer=cam_layer,
        weights_digest=file_digest(draft.weights),
        **{name: getattr(plan, name) for name in _SHARED},
        training={name: value for name, value in training.items() if name not in _SHARED},
    )
