// Draws the curves of a run's report, after player.js. Text from names only ever goes through textContent, never through
// markup.
(() => {
  const { data, niceTicks, format } = player;
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

  // ---- curves ------------------------------------------------------------------------------------------------------
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
})();
