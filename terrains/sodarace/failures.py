"""The kinds of failure a program can end in. Every Score that is not valid carries one of them."""

SYNTAX = "syntax"
TOO_LONG = "too_long"
UNSUPPORTED = "unsupported"
IMPORT = "import"
NAME = "name"
TYPE = "type"
VALUE = "value"
ERROR = "error"
TIMEOUT = "timeout"
MEMORY = "memory"
RECURSION = "recursion"
CRASH = "crash"
NOT_A_WALKER = "not_a_walker"
INVALID_WALKER = "invalid_walker"
DOES_NOT_FIT = "does_not_fit"
DID_NOT_MOVE = "did_not_move"
UNSTABLE = "unstable"

BY_EXCEPTION = {
    "SyntaxError": SYNTAX,
    "IndentationError": SYNTAX,
    "NotImplementedError": UNSUPPORTED,
    "ModuleNotFoundError": IMPORT,
    "ImportError": IMPORT,
    "NameError": NAME,
    "UnboundLocalError": NAME,
    "AttributeError": NAME,
    "TypeError": TYPE,
    "ValueError": VALUE,
    "MemoryError": MEMORY,
    "RecursionError": RECURSION,
}
"""Failure kind of each exception that leaves a program; any other is ERROR."""
