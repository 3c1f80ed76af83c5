"""Training: the loop of a run, its set-up and its resumption.

Promises: the configuration decides a run, bit for bit, whatever its workers do and however often it is stopped and
resumed; numbers that are not finite end it in one line. `TrainingLoop`, in ``loop``, does the stages; ``setup`` builds
what it needs; ``resume`` finds where a run goes on.
"""
