"""The seven classic seed walkers of ELM's Stage 1 (Lehman et al. 2022, "Evolution through Large Models", section 5).

They are written afresh: the kinds of body and their sizes are the classic ones, the programs and their gaits are ours.
Together they use both forms of ``add_muscle``, with and without the flag that makes a rod.
"""

SQUARE = """\
import math
def make_walker():
    wc = walker_creator()
    js = [wc.add_joint(x, y) for x, y in [(0, 0), (6, 0), (6, 4), (0, 4)]]
    mid = wc.add_joint(3, 2)
    for i in range(4):
        wc.add_muscle(js[i], js[(i + 1) % 4], 1.5, i * 0.25)
        wc.add_muscle(js[i], mid, 2.0, i * 0.25)
    return wc.get_walker()
"""

RADIAL = """\
import math
def make_walker():
    wc = walker_creator()
    hub = wc.add_joint(0, 0)
    rim = [wc.add_joint(4 * math.cos(i * math.pi / 4), 3 * math.sin(i * math.pi / 4)) for i in range(8)]
    for i in range(8):
        wc.add_muscle(hub, rim[i], 1.0, i / 8)
        wc.add_muscle(rim[i], rim[(i + 1) % 8], 0.5, i / 8)
    return wc.get_walker()
"""

WHEEL = """\
import math
def make_walker():
    wc = walker_creator()
    hub = wc.add_joint(0, 0)
    rim = [wc.add_joint(3 * math.cos(i * math.pi / 4), 3 * math.sin(i * math.pi / 4)) for i in range(8)]
    for i in range(8):
        wc.add_muscle(hub, rim[i], False, 2.0, i / 8)
        for reach in range(1, 4):
            wc.add_muscle(rim[i], rim[(i + reach) % 8], False, 1.0, i / 8)
    return wc.get_walker()
"""

CPPN_FIXED = """\
import math
def beat(x, y):
    return 0.5 + 0.5 * math.sin(x * 0.9 - y * 0.6)
def make_walker():
    wc = walker_creator()
    spots = [(x, y) for x in range(6) for y in range(4)]
    js = [wc.add_joint(x * 1.5, y) for x, y in spots]
    near = [(a, b) for a in range(24) for b in range(a) if math.dist(spots[a], spots[b]) < 2.1]
    for a, b in near:
        wc.add_muscle(js[a], js[b], 1.0, beat(spots[a][0], spots[b][1]))
    return wc.get_walker()
"""

CPPN_MUTABLE = """\
import math
def field(x, y, weights):
    return math.tanh(sum(w * f for w, f in zip(weights, [x, y, math.sin(x), math.cos(y), 1.0])))
def make_walker():
    wc = walker_creator()
    spots = [(x, y) for x in range(6) for y in range(4)]
    place = [0.2, 0.1, 0.5, 0.3, 0.0]
    drive = [0.3, -0.4, 1.0, 0.5, 0.2]
    js = [wc.add_joint(x * 2 + field(x, y, place), y + 0.3 * field(y, x, place)) for x, y in spots]
    near = [(a, b) for a in range(24) for b in range(a) if math.dist(spots[a], spots[b]) < 2.1]
    for a, b in near:
        x, y = spots[a]
        wc.add_muscle(js[a], js[b], False, 1.0 + field(x, y, drive), 0.5 * field(y, x, drive))
    return wc.get_walker()
"""

RUNNER = """\
import math
def make_walker():
    wc = walker_creator()
    js = []
    for i in range(20):
        js.append(wc.add_joint(i * 0.6, 3 + 0.5 * math.sin(i)))
        js.append(wc.add_joint(i * 0.6 + 0.2, 1 + math.cos(i * 1.3)))
    links = 0
    for reach in range(1, 14):
        for i in range(40 - reach):
            if links < 417:
                wc.add_muscle(js[i], js[i + reach], False, 1.5, i / 20)
                links += 1
    return wc.get_walker()
"""

GALLOPER = """\
import math
def leg(wc, hip, x, phase):
    knee = wc.add_joint(x - 0.5, 2)
    foot = wc.add_joint(x, 0.5)
    toe = wc.add_joint(x + 1, 0)
    for a, b in [(hip, knee), (knee, foot), (foot, toe)]:
        wc.add_muscle(a, b, True, 0.0, 0.0)
    for a, b, lead in [(hip, foot, 0.0), (hip, toe, 0.25), (knee, toe, 0.5)]:
        wc.add_muscle(a, b, False, 2.0, phase + lead)
    return [knee, foot]
def make_walker():
    wc = walker_creator()
    back = [wc.add_joint(i * 1.2, 4 + 0.4 * (i % 2)) for i in range(10)]
    for reach in range(1, 4):
        for i in range(10 - reach):
            wc.add_muscle(back[i], back[i + reach], False, 0.0, i * 0.05)
    hips = [(0, 0.0), (1, 0.1), (3, 0.3), (5, 0.4), (6, 0.5), (8, 0.7), (9, 0.8)]
    legs = [leg(wc, back[i], i * 1.2, p) for i, p in hips]
    for i, near in [(0, 1), (1, 2), (2, 4), (3, 4), (4, 6), (5, 7), (6, 8)]:
        for j in legs[i]:
            wc.add_muscle(back[near], j, False, 1.0, i * 0.14)
            wc.add_muscle(back[near + 1], j, False, 1.0, i * 0.14 + 0.3)
    wc.add_muscle(legs[0][1], legs[6][1], False, 0.5, 0.5)
    wc.add_muscle(legs[1][0], legs[5][0], False, 0.5, 0.0)
    return wc.get_walker()
"""

SEEDS: dict[str, str] = {
    "square": SQUARE,
    "radial": RADIAL,
    "wheel": WHEEL,
    "cppn_fixed": CPPN_FIXED,
    "cppn_mutable": CPPN_MUTABLE,
    "runner": RUNNER,
    "galloper": GALLOPER,
}
"""Every seed program by its name."""
