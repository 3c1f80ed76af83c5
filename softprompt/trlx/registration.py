"""Makes trlx know this project's trainer and pipeline."""

from __future__ import annotations

from softprompt.trlx.compat import apply_repairs

TRAINER, PIPELINE = "TerrainSoftPromptTrainer", "TerrainPromptPipeline"
"""What ``train.trainer`` and ``train.pipeline`` of a configuration of trlx's call them."""


def register() -> None:
    """Repairs trlx and registers trainer and pipeline with it, by `TRAINER` and `PIPELINE`; it may be called again.

    Raises:
        TrlxMissingError: trlx is not installed.
    """
    apply_repairs()
    from trlx.pipeline import register_datapipeline
    from trlx.trainer import register_trainer

    from softprompt.trlx.trainer import TerrainPromptPipeline, TerrainSoftPromptTrainer

    register_trainer(TerrainSoftPromptTrainer)
    register_datapipeline(TerrainPromptPipeline)
