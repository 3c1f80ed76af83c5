"""The learner: rollouts go in, a new prompt state comes out.

Promises: the language model that it was given never changes; the same rollouts in the same state make the same update,
bit for bit; a loss, gradient or parameter that is not finite is an error, not a step. Others use `Learner`, in
``learner``.
"""
