"""Rollouts: requests for programs go in, scored programs come out, and no request is lost.

Promises: an answer depends on the request and the prompt state alone, not on the worker, their number or their order; a
worker that dies, hangs or raises costs time, not requests. `RayPool` (in ``ray_pool``) and `LocalPool` (in
``local_pool``) are the two pools, `RolloutWorker` (in ``worker``) is what they run.
"""

from distributed.rollout.types import LayerWeights, PromptState, RolloutRequest, Rollouts, Trial

__all__ = ["LayerWeights", "PromptState", "RolloutRequest", "Rollouts", "Trial"]
