"""Training per-terrain soft prompts with trlx itself (CarperAI, 0.7.0), for those who have it.

Nothing else in the packages imports this, and importing it does not import trlx: `softprompt.trlx.compat` repairs trlx
for the libraries of today when it is asked to, and `softprompt.trlx.registration` makes trlx know the trainer and the
pipeline.
"""
