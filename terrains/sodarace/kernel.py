"""The physics of one walker on one ground: Box2D-style sequential impulses on point masses, compiled by Numba.

Every node is a circle whose rotation is fixed, so it moves as a point mass; springs are Box2D's soft distance joints
and rods its rigid ones, solved by sequential impulses with warm starting (Catto, "Iterative Dynamics with Temporal
Coherence", GDC 2005, and "Soft Constraints", GDC 2011). A node that would end a step deep in the ground is stopped
where it first meets it (Catto, "Continuous Collision", GDC 2013). Iteration counts and constants are part of the task:
changing one changes every score.

The file is long because its parts have to stand in it: numba drops what it keeps of a compiled function when that
function's own file changes and looks at no other, so a kernel calls only functions of its own file.
"""

from __future__ import annotations

import math

import numpy as np

from terrains.sodarace.kernel_cache import inlined, kernel

DT = 1.0 / 60.0
GRAVITY = -25.0
RADIUS = 150.0 / 2.2 / 35.0
DENSITY = 25.0
MASS = DENSITY * math.pi * RADIUS * RADIUS
FREQUENCY = 3.0
DAMPING_RATIO = 0.3
LINEAR_DAMPING = 1.1
RESTITUTION = 0.1
MUSCLE_SPEED = 3.0
VELOCITY_ITERATIONS = 10
POSITION_ITERATIONS = 10
MAX_TRANSLATION = 2.0
"""Longest way a node goes in one step, units: what keeps a node of radius 1.95 from jumping through a wall."""

_SLOP = 0.005
_REACH = RADIUS + 0.01
_BAUMGARTE = 0.2
_MAX_CORRECTION = 0.2
_CONTACTS_PER_NODE = 6
_FLOOR = 0
_IMPACT_REACH = _REACH - 3.0 * _SLOP
_IMPACT_BAUMGARTE = 0.75
_IMPACT_ITERATIONS = 20
_IMPACTS_PER_STEP = 8


@inlined
def _closest(seg, q, px, py):
    ax, ay = seg[q, 0], seg[q, 1]
    ex, ey = seg[q, 2] - ax, seg[q, 3] - ay
    t = ((px - ax) * ex + (py - ay) * ey) / (ex * ex + ey * ey)
    t = 0.0 if t < 0.0 else (1.0 if t > 1.0 else t)
    return ax + t * ex, ay + t * ey


@inlined
def _solid(seg, kind, q, px, py):
    """Whether a point lies in the solid behind a segment: below a floor, above a ceiling."""
    ax, bx = seg[q, 0], seg[q, 2]
    if bx <= ax or px < ax or px >= bx:
        return False
    line = seg[q, 1] + (seg[q, 3] - seg[q, 1]) * (px - ax) / (bx - ax)
    return py < line if kind[q] == _FLOOR else py > line


@inlined
def _add_contact(i, q, nx, ny, count, c_node, c_seg, c_nx, c_ny, c_imp, c_tan, o_node, o_seg, o_imp, o_tan, old):
    c_node[count] = i
    c_seg[count] = q
    c_nx[count] = nx
    c_ny[count] = ny
    c_imp[count] = 0.0
    c_tan[count] = 0.0
    for o in range(old):
        if o_node[o] == i and o_seg[o] == q:
            c_imp[count] = o_imp[o]
            c_tan[count] = o_tan[o]
            break


@inlined
def _clear_band(seg, kind, start, index):
    """For every bucket, the heights between which a node touches nothing: most nodes are up there most of the time."""
    buckets = start.shape[0] - 1
    above, below = np.full(buckets, -np.inf), np.full(buckets, np.inf)
    for b in range(buckets):
        for s in range(start[b], start[b + 1]):
            q = index[s]
            if kind[q] == _FLOOR:
                above[b] = max(above[b], max(seg[q, 1], seg[q, 3]) + 1.01 * _REACH)
            else:
                below[b] = min(below[b], min(seg[q, 1], seg[q, 3]) - 1.01 * _REACH)
    return above, below


@inlined
def _first_touch(seg, q, ax, ay, bx, by):
    """Time in [0, 1] at which a node going from a to b comes within _IMPACT_REACH of a segment; 2 if it does not."""
    sx, sy, tx, ty = seg[q, 0], seg[q, 1], seg[q, 2], seg[q, 3]
    if max(ax, bx) + _IMPACT_REACH < min(sx, tx) or min(ax, bx) - _IMPACT_REACH > max(sx, tx):
        return 2.0
    if max(ay, by) + _IMPACT_REACH < min(sy, ty) or min(ay, by) - _IMPACT_REACH > max(sy, ty):
        return 2.0
    px, py = _closest(seg, q, ax, ay)
    if (ax - px) ** 2 + (ay - py) ** 2 <= _IMPACT_REACH * _IMPACT_REACH:
        return 0.0
    dx, dy, ex, ey = bx - ax, by - ay, tx - sx, ty - sy
    length2 = ex * ex + ey * ey
    length = math.sqrt(length2)
    # The face: distance from its line falls linearly from off to off + rate.
    off, rate = ((ax - sx) * ey - (ay - sy) * ex) / length, (dx * ey - dy * ex) / length
    if off < 0.0:
        off, rate = -off, -rate
    if off >= _IMPACT_REACH and rate < 0.0:
        t = (_IMPACT_REACH - off) / rate
        along = ((ax + t * dx - sx) * ex + (ay + t * dy - sy) * ey) / length2
        if t > 1.0 or 0.0 <= along <= 1.0:
            return t if t <= 1.0 else 2.0
    # Its ends: a point that comes within reach of a point.
    first, way2 = 2.0, dx * dx + dy * dy
    for end in range(2):
        cx, cy = ax - seg[q, 2 * end], ay - seg[q, 2 * end + 1]
        half = cx * dx + cy * dy
        root = half * half - way2 * (cx * cx + cy * cy - _IMPACT_REACH * _IMPACT_REACH)
        if half < 0.0 and root >= 0.0:
            first = min(first, (-half - math.sqrt(root)) / way2)
    return first if first <= 1.0 else 2.0


@inlined
def _bounce(i, seg, index, low, high, x, y, vx, vy):
    """Takes from a node's velocity what goes into the segments it touches, and the friction that comes with it."""
    for k in range(VELOCITY_ITERATIONS):
        still = True
        for s in range(low, high):
            px, py = _closest(seg, index[s], x[i], y[i])
            dx, dy = x[i] - px, y[i] - py
            d = math.sqrt(dx * dx + dy * dy)
            if d > _REACH or d < 1e-9:
                continue
            nx, ny = dx / d, dy / d
            vn, vt = vx[i] * nx + vy[i] * ny, vx[i] * ny - vy[i] * nx
            if vn < 0.0:
                gain = -vn * (1.0 + RESTITUTION) if k == 0 and vn < -1.0 else -vn
                brake = max(-gain, min(gain, vt))
                vx[i] += gain * nx - brake * ny
                vy[i] += gain * ny + brake * nx
                still = False
        if still:
            return


@inlined
def _push_out(i, seg, index, low, high, x, y):
    """Takes a node that has just met the ground out of it, but for the slop that keeps it in touch."""
    for _ in range(_IMPACT_ITERATIONS):
        worst = 0.0
        for s in range(low, high):
            px, py = _closest(seg, index[s], x[i], y[i])
            d = math.sqrt((x[i] - px) ** 2 + (y[i] - py) ** 2)
            gap = d - _REACH
            if gap < -_SLOP and d > 1e-9:
                worst = min(worst, gap)
                push = min(_MAX_CORRECTION, -_IMPACT_BAUMGARTE * (gap + _SLOP)) / d
                x[i], y[i] = x[i] + push * (x[i] - px), y[i] + push * (y[i] - py)
        if worst >= -1.5 * _SLOP:
            return


@inlined
def _stop_at_impacts(seg, kind, start, index, above, below, x0, bucket, from_x, from_y, x, y, vx, vy):
    """Walks every node along its way of this step once more; where it meets the ground it bounces.

    One call serves all nodes: handing a dozen arrays to a function costs more than walking one node.
    """
    buckets = start.shape[0] - 1
    for i in range(x.shape[0]):
        ax, ay, left = from_x[i], from_y[i], 1.0
        for _ in range(_IMPACTS_PER_STEP):
            b = int((x[i] - x0) / bucket)
            b = 0 if b < 0 else (buckets - 1 if b > buckets - 1 else b)
            if min(ay, y[i]) > above[b] and max(ay, y[i]) < below[b]:
                break
            low, high = start[b], start[b + 1]
            first, inside = 2.0, False
            for s in range(low, high):
                first = min(first, _first_touch(seg, index[s], ax, ay, x[i], y[i]))
            if first > 1.0:
                break
            for s in range(low, high):
                inside = inside or _solid(seg, kind, index[s], ax, ay)
            if inside:
                break  # It began inside, and the contacts are pushing it out.
            x[i], y[i] = ax + first * (x[i] - ax), ay + first * (y[i] - ay)
            _push_out(i, seg, index, low, high, x, y)
            ax, ay = x[i], y[i]
            _bounce(i, seg, index, low, high, x, y, vx, vy)
            left *= 1.0 - first
            x[i] += left * DT * vx[i]
            y[i] += left * DT * vy[i]


@kernel
def simulate_one(joints, ends, amplitude, phase, rigid, seg, kind, start, index, x0, bucket, steps, every, frames):
    """Runs one walker; returns the displacement of its centre of mass along x, NaN where the simulation blew up.

    joints (n, 2) are placed, in world units; ends (m, 2); amplitude is the relative stroke A; phase in turns. seg (s,
    4), kind (s,) and the buckets start, index describe the ground. Every ``every``-th step is written to frames
    (f, n, 2) if every > 0.
    """
    n, m = joints.shape[0], ends.shape[0]
    inverse = 1.0 / MASS
    omega = 2.0 * math.pi * FREQUENCY
    mu = 1.0 / (2.0 * inverse)
    stiffness = mu * omega * omega
    damping = 2.0 * mu * DAMPING_RATIO * omega
    gamma = 1.0 / (DT * (damping + DT * stiffness))
    soft_mass = 1.0 / (2.0 * inverse + gamma)
    decay = 1.0 / (1.0 + DT * LINEAR_DAMPING)

    x, y = joints[:, 0].copy(), joints[:, 1].copy()
    vx, vy = np.zeros(n), np.zeros(n)
    from_x, from_y = np.empty(n), np.empty(n)
    # Unsigned, so that no index has to be looked at for being negative.
    one, other = ends[:, 0].astype(np.uint64), ends[:, 1].astype(np.uint64)
    rest, length, impulse = np.empty(m), np.empty(m), np.zeros(m)
    ux, uy, bias = np.empty(m), np.empty(m), np.empty(m)
    for k in range(m):
        rest[k] = math.hypot(x[ends[k, 1]] - x[ends[k, 0]], y[ends[k, 1]] - y[ends[k, 0]])
        length[k] = rest[k]
    room = _CONTACTS_PER_NODE * n
    c_node, c_seg = np.empty(room, np.int64), np.empty(room, np.int64)
    c_nx, c_ny, c_imp, c_tan, c_bias = np.empty(room), np.empty(room), np.empty(room), np.empty(room), np.empty(room)
    o_node, o_seg = np.empty(room, np.int64), np.empty(room, np.int64)
    o_imp, o_tan = np.empty(room), np.empty(room)
    old = 0
    buckets = start.shape[0] - 1
    above, below = _clear_band(seg, kind, start, index)
    centre0 = np.sum(x) / n
    theta = 0.0
    frame = 0
    for step in range(steps):
        if every > 0 and step % every == 0:
            frames[frame, :, 0] = x
            frames[frame, :, 1] = y
            frame += 1
        for k in range(m):
            if amplitude[k] != 0.0:
                length[k] = rest[k] * (1.0 + amplitude[k] * math.cos(theta + phase[k] * 2.0 * math.pi))
        # Contacts, from the positions at the beginning of the step.
        count = 0
        for i in range(n):
            b = int((x[i] - x0) / bucket)
            b = 0 if b < 0 else (buckets - 1 if b > buckets - 1 else b)
            if above[b] < y[i] < below[b]:
                continue
            inside = False
            for s in range(start[b], start[b + 1]):
                if _solid(seg, kind, index[s], x[i], y[i]):
                    inside = True
                    break
            if inside:
                # The nearest face pushes the node out, so that a wall pushes sideways however tall it is.
                best, nearest, bx, by = 1e300, -1, 0.0, 0.0
                for s in range(start[b], start[b + 1]):
                    px, py = _closest(seg, index[s], x[i], y[i])
                    d2 = (x[i] - px) ** 2 + (y[i] - py) ** 2
                    if d2 < best:
                        best, nearest, bx, by = d2, index[s], px, py
                d = math.sqrt(best)
                if count < room and d > 1e-9:
                    _add_contact(
                        i, nearest, (bx - x[i]) / d, (by - y[i]) / d, count,
                        c_node, c_seg, c_nx, c_ny, c_imp, c_tan, o_node, o_seg, o_imp, o_tan, old,
                    )  # fmt: skip
                    count += 1
                continue
            for s in range(start[b], start[b + 1]):
                q = index[s]
                px, py = _closest(seg, q, x[i], y[i])
                dx, dy = x[i] - px, y[i] - py
                d2 = dx * dx + dy * dy
                if d2 <= _REACH * _REACH and d2 > 1e-18 and count < room:
                    d = math.sqrt(d2)
                    _add_contact(
                        i, q, dx / d, dy / d, count,
                        c_node, c_seg, c_nx, c_ny, c_imp, c_tan, o_node, o_seg, o_imp, o_tan, old,
                    )  # fmt: skip
                    count += 1
        for i in range(n):
            vx[i] = vx[i] * decay
            vy[i] = (vy[i] + DT * GRAVITY) * decay
        for c in range(count):
            i = c_node[c]
            vn = vx[i] * c_nx[c] + vy[i] * c_ny[c]
            c_bias[c] = -RESTITUTION * vn if vn < -1.0 else 0.0
        for c in range(count):
            i = c_node[c]
            vx[i] += inverse * (c_imp[c] * c_nx[c] + c_tan[c] * c_ny[c])
            vy[i] += inverse * (c_imp[c] * c_ny[c] - c_tan[c] * c_nx[c])
        for k in range(m):
            a, b2 = one[k], other[k]
            ex, ey = x[b2] - x[a], y[b2] - y[a]
            le = math.sqrt(ex * ex + ey * ey)
            if le > _SLOP:
                ux[k], uy[k] = ex / le, ey / le
            else:
                ux[k], uy[k] = 0.0, 0.0
            bias[k] = 0.0 if rigid[k] else (le - length[k]) * DT * stiffness * gamma
            px, py = inverse * impulse[k] * ux[k], inverse * impulse[k] * uy[k]
            vx[a] -= px
            vy[a] -= py
            vx[b2] += px
            vy[b2] += py
        for _ in range(VELOCITY_ITERATIONS):
            for k in range(m):
                a, b2 = one[k], other[k]
                speed = ux[k] * (vx[b2] - vx[a]) + uy[k] * (vy[b2] - vy[a])
                imp = -mu * speed if rigid[k] else -soft_mass * (speed + bias[k] + gamma * impulse[k])
                impulse[k] += imp
                px, py = inverse * imp * ux[k], inverse * imp * uy[k]
                vx[a] -= px
                vy[a] -= py
                vx[b2] += px
                vy[b2] += py
            for c in range(count):
                i = c_node[c]
                tx, ty = c_ny[c], -c_nx[c]
                limit = c_imp[c]
                new = c_tan[c] - MASS * (vx[i] * tx + vy[i] * ty)
                new = limit if new > limit else (-limit if new < -limit else new)
                delta = new - c_tan[c]
                c_tan[c] = new
                vx[i] += inverse * delta * tx
                vy[i] += inverse * delta * ty
                new = c_imp[c] - MASS * (vx[i] * c_nx[c] + vy[i] * c_ny[c] - c_bias[c])
                new = new if new > 0.0 else 0.0
                delta = new - c_imp[c]
                c_imp[c] = new
                vx[i] += inverse * delta * c_nx[c]
                vy[i] += inverse * delta * c_ny[c]
        total = 0.0
        for i in range(n):
            from_x[i], from_y[i] = x[i], y[i]
            tx, ty = DT * vx[i], DT * vy[i]
            way = tx * tx + ty * ty
            if way > MAX_TRANSLATION * MAX_TRANSLATION:
                shrink = MAX_TRANSLATION / math.sqrt(way)
                vx[i] *= shrink
                vy[i] *= shrink
            x[i] += DT * vx[i]
            y[i] += DT * vy[i]
            total += x[i] + y[i]
        if not math.isfinite(total):
            return math.nan
        for _ in range(POSITION_ITERATIONS):
            worst, stretch = 0.0, 0.0
            for c in range(count):
                i = c_node[c]
                px, py = _closest(seg, c_seg[c], x[i], y[i])
                gap = (x[i] - px) * c_nx[c] + (y[i] - py) * c_ny[c] - _REACH
                worst = gap if gap < worst else worst
                push = _BAUMGARTE * (gap + _SLOP)
                push = -_MAX_CORRECTION if push < -_MAX_CORRECTION else (0.0 if push > 0.0 else push)
                x[i] -= push * c_nx[c]
                y[i] -= push * c_ny[c]
            for k in range(m):
                if rigid[k]:
                    a, b2 = one[k], other[k]
                    ex, ey = x[b2] - x[a], y[b2] - y[a]
                    le = math.sqrt(ex * ex + ey * ey)
                    if le > 1e-12:
                        error = le - length[k]
                        error = (
                            _MAX_CORRECTION
                            if error > _MAX_CORRECTION
                            else (-_MAX_CORRECTION if error < -_MAX_CORRECTION else error)
                        )
                        stretch = max(stretch, abs(error))
                        f = 0.5 * error / le
                        x[a] += f * ex
                        y[a] += f * ey
                        x[b2] -= f * ex
                        y[b2] -= f * ey
            if worst >= -3.0 * _SLOP and stretch < _SLOP:
                break
        _stop_at_impacts(seg, kind, start, index, above, below, x0, bucket, from_x, from_y, x, y, vx, vy)
        old = count
        for c in range(count):
            o_node[c], o_seg[c], o_imp[c], o_tan[c] = c_node[c], c_seg[c], c_imp[c], c_tan[c]
        theta += MUSCLE_SPEED * DT
    return np.sum(x) / n - centre0
