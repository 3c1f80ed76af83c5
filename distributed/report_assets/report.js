'use strict';
// Draws the curves and plays the walkers of a run's report. Text from programs and names only ever goes through
// textContent or fillText, never through markup.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const SVG = 'http://www.w3.org/2000/svg';

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function draw(parent, tag, attributes, text) {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  const colour = (i) => `var(--t${i % 8})`;

  // ---- theme -------------------------------------------------------------------------------------------------------
  const root = document.documentElement;
  const themeChanged = new EventTarget();
  const dark = () => (root.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
  document.getElementById('theme').addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    themeChanged.dispatchEvent(new Event('change'));
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => themeChanged.dispatchEvent(new Event('change')));

  // ---- curves ------------------------------------------------------------------------------------------------------
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

  function bounds(chart) {
    const ys = chart.series.flatMap((s) => s.points.map((p) => p[1]).concat(s.baseline ?? []));
    let [low, high] = [Math.min(...ys), Math.max(...ys)];
    if (low > 0 && low < high * 0.6) low = 0;
    if (chart.percent) [low, high] = [0, 1];
    if (high - low < 1e-12) [low, high] = [low - Math.max(Math.abs(low) * 0.1, 1e-3), high + Math.max(Math.abs(high) * 0.1, 1e-3)];
    return [low, high + (chart.percent ? 0 : (high - low) * 0.06)];
  }

  function addChart(parent, chart) {
    const [W, H, left, right, bottom] = [520, 240, 48, 12, 26];
    const top = data.phases.length > 1 ? 24 : 10;
    const figure = make('figure', 'chart');
    const caption = make('figcaption', '', chart.title);
    if (chart.note) caption.append(make('small', '', chart.note));
    figure.append(caption);
    const svg = draw(figure, 'svg', { viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': chart.title });
    const xs = data.steps;
    const [x0, x1] = xs.length > 1 ? [xs[0], xs[xs.length - 1]] : [xs[0] - 1, xs[0] + 1];
    const [y0, y1] = bounds(chart);
    const px = (x) => left + ((x - x0) / (x1 - x0)) * (W - left - right);
    const py = (y) => H - bottom - ((y - y0) / (y1 - y0)) * (H - top - bottom);

    data.phases.forEach((phase, i) => {
      if (data.phases.length < 2) return;
      const [a, b] = [Math.max(px(phase.from - 0.5), left), Math.min(px(phase.to + 0.5), W - right)];
      if (i % 2 === 0) draw(svg, 'rect', { class: 'band', x: a, y: top, width: Math.max(b - a, 1), height: H - top - bottom });
      draw(svg, 'text', { x: a + 2, y: top - 9 }, phase.name);
    });
    for (const tick of niceTicks(y0, y1, 4)) {
      draw(svg, 'line', { class: 'grid', x1: left, x2: W - right, y1: py(tick), y2: py(tick) });
      draw(svg, 'text', { x: left - 8, y: py(tick) + 4, 'text-anchor': 'end' }, format(tick, chart.percent));
    }
    for (const tick of niceTicks(x0, x1, 6).filter(Number.isInteger)) {
      draw(svg, 'text', { x: px(tick), y: H - 7, 'text-anchor': 'middle' }, tick);
    }
    for (const series of chart.series) {
      const style = `--c:${series.terrain === null ? 'var(--accent)' : colour(series.terrain)}`;
      if (series.baseline !== null) {
        draw(svg, 'line', { class: 'base', style, x1: left, x2: W - right, y1: py(series.baseline), y2: py(series.baseline) });
      }
      const path = series.points.map(([x, y], i) => `${i ? 'L' : 'M'}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join('');
      if (series.points.length > 1) draw(svg, 'path', { class: 'line', style, d: path });
      const last = series.points[series.points.length - 1];
      draw(svg, 'circle', { class: 'point', style, cx: px(last[0]), cy: py(last[1]), r: 3.2 });
    }
    addTip(figure, svg, chart, { W, left, right, top, bottom, H, x0, x1, px });
    parent.append(figure);
  }

  function addTip(figure, svg, chart, box) {
    const cursor = draw(svg, 'line', { class: 'cursor', y1: box.top, y2: box.H - box.bottom, visibility: 'hidden' });
    const tip = make('div', 'tip');
    tip.hidden = true;
    figure.append(tip);
    const tables = chart.series.map((s) => new Map(s.points));
    svg.addEventListener('pointermove', (event) => {
      const frame = svg.getBoundingClientRect();
      const at = ((event.clientX - frame.left) / frame.width) * box.W;
      const wanted = box.x0 + ((at - box.left) / (box.W - box.left - box.right)) * (box.x1 - box.x0);
      const x = data.steps.reduce((best, s) => (Math.abs(s - wanted) < Math.abs(best - wanted) ? s : best));
      cursor.setAttribute('x1', box.px(x));
      cursor.setAttribute('x2', box.px(x));
      cursor.setAttribute('visibility', 'visible');
      tip.replaceChildren(make('div', '', `step ${x}`));
      chart.series.forEach((series, i) => {
        if (!tables[i].has(x)) return;
        const row = make('div');
        const dot = make('span', 'dot');
        dot.style.setProperty('--c', series.terrain === null ? 'var(--accent)' : colour(series.terrain));
        row.append(dot, make('span', '', series.label), make('b', '', format(tables[i].get(x), chart.percent)));
        tip.append(row);
      });
      tip.hidden = false;
      const rightHalf = box.px(x) > box.W / 2;
      tip.style.left = rightHalf ? 'auto' : `${(box.px(x) / box.W) * 100 + 4}%`;
      tip.style.right = rightHalf ? `${(1 - box.px(x) / box.W) * 100 + 4}%` : 'auto';
    });
    svg.addEventListener('pointerleave', () => {
      tip.hidden = true;
      cursor.setAttribute('visibility', 'hidden');
    });
  }

  const legend = document.getElementById('legend');
  data.terrains.forEach((name, i) => {
    const dot = make('span', 'dot');
    dot.style.setProperty('--c', colour(i));
    const entry = make('span');
    entry.append(dot, make('span', '', name));
    legend.append(entry);
  });
  for (const chart of data.charts) addChart(document.getElementById(chart.main ? 'charts' : 'more-charts'), chart);
  document.getElementById('more').hidden = !data.charts.some((chart) => !chart.main);

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
    const start = middle(walker.frames[0]);
    const whole = spread(walker.frames.flat());
    const body = walker.frames.map(spread).reduce((a, b) => (b.width + b.height > a.width + a.height ? b : a));
    const lengths = walker.muscles.map(([a, b]) => {
      const all = walker.frames.map((f) => Math.hypot(f[2 * a] - f[2 * b], f[2 * a + 1] - f[2 * b + 1]));
      return [Math.min(...all), Math.max(...all)];
    });
    return { walker, canvas, start, whole, body, lengths };
  }

  function camera(stage, points, follow, aspect) {
    if (!follow) {
      const width = Math.max(stage.whole.width + 40, (stage.whole.height + 50) * aspect);
      return { x: (stage.whole.left + stage.whole.right) / 2, bottom: stage.whole.bottom - 14, width };
    }
    const width = Math.max(stage.body.width * 2.6, stage.body.height * 2.1 * aspect, 110);
    const [x, y] = middle(points);
    return { x, bottom: Math.min(y - (width / aspect) * 0.42, spread(points).bottom - 8), width };
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

  function rulers(context, stage, view, width, toScreen, style) {
    context.font = '11px system-ui, sans-serif';
    context.textAlign = 'center';
    for (const tick of niceTicks(view.x - view.width / 2 - stage.start[0], view.x + view.width / 2 - stage.start[0], 7)) {
      const [x] = toScreen(stage.start[0] + tick, 0);
      context.strokeStyle = style('--line');
      context.lineWidth = Math.abs(tick) < 1e-9 ? 2 : 1;
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, stage.canvas.clientHeight);
      context.stroke();
      if (x > 16 && x < width - 16) {
        context.fillStyle = style('--soft');
        context.fillText(Math.abs(tick) < 1e-9 ? 'start' : format(tick), x, 15);
      }
    }
  }

  function paint(stage, time, follow) {
    const { walker, canvas } = stage;
    const [w, h, ratio] = [canvas.clientWidth, canvas.clientHeight, window.devicePixelRatio || 1];
    if (!w) return;
    if (canvas.width !== Math.round(w * ratio)) { canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio); }
    const context = canvas.getContext('2d');
    const css = getComputedStyle(root);
    const style = (name) => css.getPropertyValue(name).trim();
    const points = pose(walker, time);
    const view = camera(stage, points, follow, w / h);
    const scale = w / view.width;
    const toScreen = (x, y) => [(x - view.x) * scale + w / 2, h - (y - view.bottom) * scale];
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, w, h);
    rulers(context, stage, view, w, toScreen, style);

    context.fillStyle = style('--earth');
    context.strokeStyle = style('--edge');
    context.lineWidth = 1.5;
    outline(context, walker.floor, -1e4, toScreen);
    if (walker.ceiling) outline(context, walker.ceiling, 1e4, toScreen);

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
    const label = `moved ${gone < 0 ? '−' : ''}${Math.abs(gone).toFixed(1)}`;
    context.textAlign = 'right';
    context.font = '600 13px system-ui, sans-serif';
    context.lineJoin = 'round';
    context.lineWidth = 4;
    context.strokeStyle = style('--sky');
    context.strokeText(label, w - 12, h - 12);
    context.fillStyle = style('--ink');
    context.fillText(label, w - 12, h - 12);
  }

  function runArena(element, arena) {
    const canvases = [...element.querySelectorAll('canvas')];
    const stages = arena.map((walker, i) => prepare(walker, canvases[i]));
    const length = Math.max(...arena.map((walker) => (walker.frames.length - 1) * walker.dt));
    const find = (selector) => element.querySelector(selector);
    const [play, scrub, speed, follow, clock] = ['.play', '.scrub', '.speed', '.follow', 'output'].map(find);
    let [time, playing, visible, pending, before] = [0, false, false, false, null];

    function show() {
      for (const stage of stages) paint(stage, time, follow.value === 'follow');
      scrub.value = length ? (1000 * time) / length : 0;
      clock.textContent = `${time.toFixed(1)} of ${length.toFixed(1)} s`;
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
    play.addEventListener('click', () => setPlaying(!playing));
    scrub.addEventListener('input', () => { time = (scrub.value / 1000) * length; setPlaying(false); });
    follow.addEventListener('change', show);
    themeChanged.addEventListener('change', show);
    new ResizeObserver(show).observe(element);
    new IntersectionObserver((entries) => {
      visible = entries[entries.length - 1].isIntersecting;
      ask();
    }).observe(element);
    setPlaying(!matchMedia('(prefers-reduced-motion: reduce)').matches);
  }

  document.querySelectorAll('[data-arena]').forEach((element) => runArena(element, data.arenas[Number(element.dataset.arena)]));
})();
