'use strict';
// Plays walkers: one arena a terrain, with several walkers that share one clock. Text from programs and names only ever
// goes through textContent or fillText, never through markup.
const player = (() => {
  const data = JSON.parse(document.getElementById('data').textContent);

  // ---- theme -------------------------------------------------------------------------------------------------------
  const root = document.documentElement;
  const themeChanged = new EventTarget();
  const dark = () => (root.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
  document.getElementById('theme').addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    themeChanged.dispatchEvent(new Event('change'));
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => themeChanged.dispatchEvent(new Event('change')));

  function niceTicks(low, high, wanted) {
    const raw = (high - low) / wanted;
    const power = 10 ** Math.floor(Math.log10(raw));
    const unit = [1, 2, 5, 10].find((u) => u * power >= raw) * power;
    const ticks = [];
    for (let i = Math.ceil(low / unit - 1e-9); i * unit <= high + unit * 1e-9; i++) ticks.push(i * unit);
    return ticks;
  }

  function format(value, percent) {
    if (percent) return `${Math.round(value * 100)}%`;
    const size = Math.abs(value);
    if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(1);
    return size >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
  }

  // ---- walkers -----------------------------------------------------------------------------------------------------
  // Everything below is in world units with y upwards until toScreen.
  function pose(walker, time) {
    const at = Math.min(time / walker.dt, walker.frames.length - 1);
    const i = Math.floor(at);
    const [a, b, part] = [walker.frames[i], walker.frames[Math.min(i + 1, walker.frames.length - 1)], at - i];
    return a.map((value, k) => value + (b[k] - value) * part);
  }

  function middle(points) {
    let [x, y] = [0, 0];
    for (let k = 0; k < points.length; k += 2) { x += points[k]; y += points[k + 1]; }
    return [(2 * x) / points.length, (2 * y) / points.length];
  }

  function spread(points) {
    let [l, r, b, t] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let k = 0; k < points.length; k += 2) {
      l = Math.min(l, points[k]); r = Math.max(r, points[k]);
      b = Math.min(b, points[k + 1]); t = Math.max(t, points[k + 1]);
    }
    return { left: l, right: r, bottom: b, top: t, width: r - l, height: t - b };
  }

  function prepare(walker, canvas) {
    const centres = walker.frames.map(middle);
    const start = centres[0];
    const whole = spread(walker.frames.flat());
    const body = walker.frames.map(spread).reduce((a, b) => (b.width + b.height > a.width + a.height ? b : a));
    const lengths = walker.muscles.map(([a, b]) => {
      const all = walker.frames.map((f) => Math.hypot(f[2 * a] - f[2 * b], f[2 * a + 1] - f[2 * b + 1]));
      return [Math.min(...all), Math.max(...all)];
    });
    return { walker, canvas, centres, start, whole, body, lengths };
  }

  // What a stage by itself shows.
  function camera(stage, points, follow, aspect) {
    if (!follow) {
      const width = Math.max(stage.whole.width + 40, (stage.whole.height + 50) * aspect);
      return { x: (stage.whole.left + stage.whole.right) / 2, bottom: stage.whole.bottom - 14, width };
    }
    const width = Math.max(stage.body.width * 2.6, stage.body.height * 2.1 * aspect, 110);
    const [x, y] = middle(points);
    return { x, bottom: Math.min(y - (width / aspect) * 0.42, spread(points).bottom - 8), width };
  }

  // What lanes show: all of them the same distances from the start, so that walkers can be compared at a glance.
  function laneCamera(stages, time, follow, aspect) {
    const tall = Math.max(...stages.map((s) => s.whole.height)) + 36;
    if (!follow) {
      const left = Math.min(...stages.map((s) => s.whole.left - s.start[0]));
      const right = Math.max(...stages.map((s) => s.whole.right - s.start[0]));
      return { from: (left + right) / 2, width: Math.max(right - left + 40, tall * aspect) };
    }
    const gone = stages.map((s) => middle(pose(s.walker, time))[0] - s.start[0]);
    const widest = Math.max(...stages.map((s) => Math.max(s.body.width * 3, s.body.height * 1.6 * aspect)));
    return { from: gone.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a)), width: widest };
  }

  function laneView(stage, lane) {
    return { x: stage.start[0] + lane.from, bottom: stage.whole.bottom - 14, width: lane.width };
  }

  function outline(context, points, far, toScreen) {
    const sky = far > 0;
    const [first, last] = [points[0], points[points.length - 1]];
    const reach = sky ? 0 : 1e4;
    context.beginPath();
    context.moveTo(...toScreen(first[0] - reach, far));
    context.lineTo(...toScreen(first[0] - reach, first[1]));
    for (const [x, y] of points) context.lineTo(...toScreen(x, y));
    context.lineTo(...toScreen(last[0] + reach, last[1]));
    context.lineTo(...toScreen(last[0] + reach, far));
    context.fill();
    context.stroke();
  }

  // Lines before the ground is painted, their labels after it: a ceiling must not hide them.
  function rulers(context, stage, view, width, toScreen, style, labels) {
    context.font = '11px system-ui, sans-serif';
    context.textAlign = 'center';
    for (const tick of niceTicks(view.x - view.width / 2 - stage.start[0], view.x + view.width / 2 - stage.start[0], 7)) {
      const [x] = toScreen(stage.start[0] + tick, 0);
      if (!labels) {
        context.strokeStyle = style('--line');
        context.lineWidth = Math.abs(tick) < 1e-9 ? 2 : 1;
        context.beginPath();
        context.moveTo(x, 0);
        context.lineTo(x, stage.canvas.clientHeight);
        context.stroke();
      } else if (x > 16 && x < width - 16) {
        context.fillStyle = style('--soft');
        context.fillText(Math.abs(tick) < 1e-9 ? 'start' : format(tick), x, 15);
      }
    }
    if (!labels) return;
    context.textAlign = 'left';
    context.fillText('distance from the start (world units)', 10, 31);
  }

  function trail(context, stage, time, toScreen, style) {
    context.strokeStyle = style('--soft');
    context.lineWidth = 1;
    context.beginPath();
    stage.centres.slice(0, Math.floor(time / stage.walker.dt) + 1).forEach((centre, i) => {
      context[i ? 'lineTo' : 'moveTo'](...toScreen(...centre));
    });
    context.stroke();
  }

  function paint(stage, time, follow, lane) {
    const { walker, canvas } = stage;
    const [w, h, ratio] = [canvas.clientWidth, canvas.clientHeight, window.devicePixelRatio || 1];
    if (!w) return;
    const [wide, high] = [Math.round(w * ratio), Math.round(h * ratio)];
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    const context = canvas.getContext('2d');
    const css = getComputedStyle(root);
    const style = (name) => css.getPropertyValue(name).trim();
    const points = pose(walker, time);
    const view = lane ? laneView(stage, lane) : camera(stage, points, follow, w / h);
    const scale = w / view.width;
    const toScreen = (x, y) => [(x - view.x) * scale + w / 2, h - (y - view.bottom) * scale];
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, w, h);
    rulers(context, stage, view, w, toScreen, style, false);

    context.fillStyle = style('--earth');
    context.strokeStyle = style('--edge');
    context.lineWidth = 1.5;
    if (walker.floor) outline(context, walker.floor, -1e4, toScreen);
    if (walker.ceiling) outline(context, walker.ceiling, 1e4, toScreen);

    rulers(context, stage, view, w, toScreen, style, true);
    trail(context, stage, time, toScreen, style);
    context.lineCap = 'round';
    walker.muscles.forEach(([a, b, rigid], i) => {
      const [short, long] = stage.lengths[i];
      const length = Math.hypot(points[2 * a] - points[2 * b], points[2 * a + 1] - points[2 * b + 1]);
      // A muscle is drawn thicker the shorter it is, as a flexed one would be.
      const flexed = long - short > 1e-6 ? (long - length) / (long - short) : 0;
      context.strokeStyle = style(rigid ? '--edge' : '--muscle');
      context.globalAlpha = rigid ? 1 : 0.5 + 0.5 * flexed;
      context.lineWidth = Math.max(scale * (rigid ? 0.8 : 0.5 + 0.7 * flexed), 1);
      context.beginPath();
      context.moveTo(...toScreen(points[2 * a], points[2 * a + 1]));
      context.lineTo(...toScreen(points[2 * b], points[2 * b + 1]));
      context.stroke();
    });
    context.globalAlpha = 1;
    context.fillStyle = style('--bone');
    for (let k = 0; k < points.length; k += 2) {
      context.beginPath();
      context.arc(...toScreen(points[k], points[k + 1]), Math.max(walker.radius * scale, 1), 0, 7);
      context.fill();
    }
    const gone = middle(points)[0] - stage.start[0];
    const label = `moved ${gone < 0 ? '−' : ''}${Math.abs(gone).toFixed(1)} units`;
    context.textAlign = 'right';
    context.font = '600 13px system-ui, sans-serif';
    context.lineJoin = 'round';
    context.lineWidth = 4;
    context.strokeStyle = style('--sky');
    context.strokeText(label, w - 12, h - 12);
    context.fillStyle = style('--ink');
    context.fillText(label, w - 12, h - 12);
  }

  const NUDGE = 0.5;

  function runArena(element, arena) {
    const canvases = [...element.querySelectorAll('canvas')];
    const stages = arena.map((walker, i) => prepare(walker, canvases[i]));
    const length = Math.max(...arena.map((walker) => (walker.frames.length - 1) * walker.dt));
    const find = (selector) => element.querySelector(selector);
    const [play, scrub, speed, follow, clock, layout] = ['.play', '.scrub', '.speed', '.follow', 'output', '.layout'].map(find);
    let [time, playing, visible, pending, before] = [0, false, false, false, null];

    const lanes = () => layout !== null && layout.value === 'lanes';
    const wide = Math.max(...stages.map((s) => s.whole.width)) + 40;
    const tall = Math.max(...stages.map((s) => s.whole.height)) + 36;
    const aspect = Math.min(Math.max(wide / tall, 5), 9);
    element.style.setProperty('--lane', aspect);

    function show() {
      element.classList.toggle('in-lanes', lanes());
      const lane = lanes() ? laneCamera(stages, time, follow.value === 'follow', aspect) : null;
      for (const stage of stages) paint(stage, time, follow.value === 'follow', lane);
      scrub.value = length ? (1000 * time) / length : 0;
      clock.textContent = `${time.toFixed(1)} of ${length.toFixed(1)} s`;
      scrub.setAttribute('aria-valuetext', clock.textContent);
      play.textContent = playing ? 'Pause' : 'Play';
    }
    function tick(now) {
      pending = false;
      if (!playing || !visible) { before = null; return; }
      if (before !== null) time += ((now - before) / 1000) * Number(speed.value);
      before = now;
      if (time > length) time = length ? time % length : 0;
      show();
      ask();
    }
    function ask() {
      if (pending || !playing || !visible) return;
      pending = true;
      requestAnimationFrame(tick);
    }
    function setPlaying(value) {
      playing = value;
      before = null;
      show();
      ask();
    }
    function goTo(moment) {
      time = Math.min(Math.max(moment, 0), length);
      setPlaying(false);
    }
    function press(key, fine) {
      const step = fine ? arena[0].dt : NUDGE;
      if (key === ' ') setPlaying(!playing);
      else if (key === 'ArrowRight') goTo(time + step);
      else if (key === 'ArrowLeft') goTo(time - step);
      else if (key === 'Home') goTo(0);
      else if (key === 'End') goTo(length);
      else if (key === 'ArrowUp' && speed.selectedIndex < speed.length - 1) speed.selectedIndex += 1;
      else if (key === 'ArrowDown' && speed.selectedIndex > 0) speed.selectedIndex -= 1;
    }
    play.addEventListener('click', () => setPlaying(!playing));
    scrub.addEventListener('input', () => goTo((scrub.value / 1000) * length));
    follow.addEventListener('change', show);
    if (layout) layout.addEventListener('change', show);
    themeChanged.addEventListener('change', show);
    new ResizeObserver(show).observe(element);
    new IntersectionObserver((entries) => {
      visible = entries[entries.length - 1].isIntersecting;
      ask();
    }).observe(element);
    setPlaying(!matchMedia('(prefers-reduced-motion: reduce)').matches);
    return { element, press, shown: () => visible };
  }

  const arenas = [...document.querySelectorAll('[data-arena]')].map((e) => runArena(e, data.arenas[Number(e.dataset.arena)]));

  // Keys go to the arena that has the focus. When nothing has, those of a replay go to the first one in view; a report
  // keeps them for scrolling.
  const KEYS = [' ', 'ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End'];
  document.addEventListener('keydown', (event) => {
    if (!KEYS.includes(event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest('select, summary, a, pre') || (event.key === ' ' && event.target.closest('button'))) return;
    const own = event.target.closest('[data-arena]');
    const free = document.querySelector('.replay') && !/Up|Down|Home|End/.test(event.key);
    const arena = arenas.find((each) => (own ? each.element === own : free && each.shown()));
    if (!arena) return;
    event.preventDefault();
    arena.press(event.key, event.shiftKey);
  });
  return { data, niceTicks, format };
})();
