"""The kinds of failure a sample can end in."""

REWARD_ERROR = "reward_error"
"""A function raised an exception, or returned something that is no reward."""
NOT_FINITE = "not_finite"
"""A function returned NaN or infinity."""
WRONG_LENGTH = "wrong_length"
"""A function returned another number of rewards than there are tokens, or samples."""
LATE = "late"
"""A function gave no answer within its deadline."""
INVALID = "invalid"
"""The sample is not what the task asks for, as the setting ``valid`` says."""

ALL = (REWARD_ERROR, NOT_FINITE, WRONG_LENGTH, LATE, INVALID)
