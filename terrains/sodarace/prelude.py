"""What a program finds defined before its first line, and what it may import of OpenELM's."""

from __future__ import annotations

import re

PRELUDE = """\
import math

class _WalkerCreator:
    def __init__(self):
        self.joints = []
        self.muscles = []
        self._numbers = {}

    def add_joint(self, x, y):
        joint = (x, y)
        self._numbers.setdefault(joint, len(self.joints))
        self.joints.append(joint)
        return joint

    def add_muscle(self, j0, j1, *settings, **named):
        rigid = False
        if settings and isinstance(settings[0], bool):
            rigid = settings[0]
            settings = settings[1:]
        if named or len(settings) > 2:
            settings = _with_names(settings, named)
        amplitude = settings[0] if settings else 0.0
        phase = settings[1] if len(settings) > 1 else 0.0
        a = j0 if type(j0) is int else self._numbers.get(j0, -1)
        b = j1 if type(j1) is int else self._numbers.get(j1, -1)
        self.muscles.append([a, b, rigid, amplitude, phase])

    def get_walker(self):
        return {'joints': self.joints, 'muscles': self.muscles}

def walker_creator():
    return _WalkerCreator()

def _with_names(settings, named):
    if len(settings) > 2:
        raise TypeError('add_muscle() takes an amplitude and a phase, but ' + str(len(settings)) + ' were given')
    for name in named:
        if name not in ('amplitude', 'phase'):
            raise TypeError("add_muscle() got an unexpected keyword argument '" + name + "'")
        if name in ('amplitude', 'phase')[:len(settings)]:
            raise TypeError("add_muscle() got multiple values for argument '" + name + "'")
    amplitude = settings[0] if settings else named.get('amplitude', 0.0)
    return amplitude, named['phase'] if 'phase' in named else settings[1] if len(settings) > 1 else 0.0

"""
"""The walker API. A joint's handle is the pair of its coordinates, as in OpenELM, so that it can be unpacked, and
``joints`` holds handles; unlike there the pair is in the program's own units. Of two joints at one place the handle is
the first one's. A joint's number, in the order of their making, is taken for its handle too. ``add_muscle`` takes both
(j0, j1, amplitude, phase) and (j0, j1, rod?, amplitude, phase), and nothing more."""

CALL = "\nmake_walker()\n"
"""What stands behind the program; its value is the program's."""

_OPENELM = """\
_walker_creator = walker_creator

def _Walker(joints, muscles):
    return {'joints': joints, 'muscles': muscles}

def _query_cppn(wc, xgrid, ygrid, scale, connect_func, amp_func, phase_func):
    spots = [(x, y) for x in range(xgrid) for y in range(ygrid)]
    joints = {spot: wc.add_joint(spot[0] * scale, spot[1] * scale) for spot in spots}
    for a in spots:
        for b in spots:
            on_diagonal = a[0] == a[1] and b[0] == b[1]
            if a[0] <= b[0] and a[1] <= b[1] and not on_diagonal and connect_func(*a, *b):
                wc.add_muscle(joints[a], joints[b], amp_func(*a, *b), phase_func(*a, *b))
    return joints

class _Names:
    pass

_openelm_walker = _Names()
_openelm_walker.walker_creator = _walker_creator
_openelm_walker.Walker = _Walker
_openelm_walker.query_cppn = _query_cppn
_openelm = _Names()
_openelm.environments = _Names()
_openelm.environments.sodaracer = _Names()
_openelm.environments.sodaracer.walker = _openelm_walker
_openelm_walker.walk_creator = _openelm_walker
_openelm_walker.CPPN_mutable = _openelm_walker

"""
"""What OpenELM's walker module offers, for programs that import it."""

_NAMES = {name: f"_{name}" for name in ("walker_creator", "Walker", "query_cppn")}
_FILES = {name: "_openelm_walker" for name in ("walk_creator", "CPPN_mutable")}
_SODARACER = r"openelm\.environments\.sodaracer"
_WALKER = rf"{_SODARACER}\.walker(?:\.walk_creator|\.CPPN_mutable)?"
_FROM = re.compile(
    rf"^([ \t]*)from[ \t]+({_WALKER}|{_SODARACER}|\.(?:walk_creator|CPPN_mutable)?)[ \t]+import[ \t]*"
    r"(\([^()]*\)|(?:[^\n;#(\\]|\\\n)+)",
    re.MULTILINE,
)
_IMPORT = re.compile(rf"^([ \t]*)import[ \t]+({_WALKER})(?:[ \t]+as[ \t]+(\w+))?[ \t]*(?=$|[;#])", re.MULTILINE)
_ONE = re.compile(r"(\w+|\*)(?:\s+as\s+(\w+))?")
_BETWEEN = re.compile(r"#[^\n]*|\\\n")


def as_fed(program: str) -> str:
    """Returns what the interpreter is given for a program: the prelude, the program and the call of its function.

    Lines that import OpenELM's walker module become assignments of what the prelude holds, on as many lines.
    """
    if "openelm" in program or "from ." in program:
        known = _IMPORT.sub(_whole_module, _FROM.sub(_some_names, program))
        if known != program:
            return PRELUDE + _OPENELM + known + CALL
    return PRELUDE + program + CALL


def _some_names(line: re.Match[str]) -> str:
    """``from ... import a, b as c``, as assignments."""
    indent, module, listed = line[1], line[2], line[3]
    if module.endswith(".sodaracer"):
        known = {"walker": "_openelm_walker", "Walker": "_Walker"}
    else:
        known = _NAMES | (_FILES if module.endswith(("walker", ".")) else {})
    done = []
    for each in _BETWEEN.sub("", listed).strip("() \t\r\n,").split(","):
        name = _ONE.fullmatch(each.strip())
        if name is None:
            return line[0]
        if name[1] == "*":
            done += [f"{key} = {value}" for key, value in _NAMES.items()]
        elif name[1] in known:
            done.append(f"{name[2] or name[1]} = {known[name[1]]}")
        else:
            done.append(f"raise ImportError(\"cannot import name '{name[1]}' from '{module}'\")")
    return indent + "; ".join(done) + "\n" * line[0].count("\n")


def _whole_module(line: re.Match[str]) -> str:
    """``import ...``, with a name for it or without, as an assignment."""
    indent, name = line[1], line[3]
    return f"{indent}{name} = _openelm_walker" if name else f"{indent}openelm = _openelm"
