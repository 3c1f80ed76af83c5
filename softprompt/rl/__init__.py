"""The mathematics that trains prompts, on tensors alone: advantages, PPO, KL control, elites, evolution strategies."""
