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
  const ink = (series) => `--c:${series.colour === null ? 'var(--accent)' : colour(series.colour)}`;
  const FONT = '11.5px system-ui, sans-serif';
  const ruler = document.createElement('canvas').getContext('2d');

  function textWidth(text) {
    ruler.font = FONT;
    return ruler.measureText(text).width;
  }

  function bounds(chart) {
    let [low, high] = [Infinity, -Infinity];
    const take = (y) => { if (y !== null) [low, high] = [Math.min(low, y), Math.max(high, y)]; };
    for (const series of chart.series) {
      take(series.baseline);
      for (const [, y] of series.points) take(y);
    }
    if (low > 0 && low < high * 0.6) low = 0;
    if (chart.percent) [low, high] = [0, 1];
    if (high - low < 1e-12) [low, high] = low ? [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1] : [0, 1];
    return [low, high + (chart.percent ? 0 : (high - low) * 0.06)];
  }

  // Places the phases' names above their beginnings, each in the first row where it is clear of those before.
  function placeNames(phases, from, to) {
    const ends = [];
    return phases.map(({ name, x }) => {
      const width = textWidth(name) + 10;
      const left = Math.max(Math.min(x, to - width), from);
      let row = ends.findIndex((end) => end <= left);
      if (row < 0) row = ends.length;
      ends[row] = left + width;
      return { name, x: left, row };
    });
  }

  // A line has a gap where a point has no value; a value between two gaps is a dot.
  function outline(points, px, py) {
    let [path, open] = ['', 0];
    for (const [x, y] of points.concat([[0, null]])) {
      if (y === null) {
        if (open === 1) path += 'h0';
        open = 0;
      } else {
        path += `${open ? 'L' : 'M'}${px(x).toFixed(1)} ${py(y).toFixed(1)}`;
        open += 1;
      }
    }
    return path;
  }

  function addLegend(figure, chart) {
    if (chart.series.length < 2 || chart.series[0].terrain !== null) return;
    const legend = make('p', 'legend small');
    for (const series of chart.series) legend.append(named(series.label, ink(series)));
    figure.append(legend);
  }

  function named(text, style) {
    const entry = make('span');
    const dot = make('span', 'dot');
    dot.setAttribute('style', style);
    entry.append(dot, make('span', '', text));
    return entry;
  }

  // Room for a chart of its own size: letters are as large on a telephone as on a desk.
  function roomFor() {
    const main = document.querySelector('main');
    const style = getComputedStyle(main);
    const inside = main.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - 34;
    return Math.max(Math.min(inside, 520), 220);
  }

  function addChart(parent, chart) {
    const [W, H, left, right, bottom] = [roomFor(), 262, 68, 14, 44];
    const figure = make('figure', 'chart');
    const caption = make('figcaption', '', chart.title);
    if (chart.note) caption.append(make('small', '', chart.note));
    figure.append(caption);
    addLegend(figure, chart);
    const svg = draw(figure, 'svg', { viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': `${chart.title}: ${chart.axis} by ${data.x_axis}` });
    const xs = data.steps;
    const [x0, x1] = xs.length > 1 ? [xs[0], xs[xs.length - 1]] : [xs[0] - 1, xs[0] + 1];
    const [y0, y1] = bounds(chart);
    const px = (x) => left + ((x - x0) / (x1 - x0)) * (W - left - right);
    const begins = data.phases.map((phase) => ({ name: phase.name, x: Math.max(px(phase.from - 0.5), left) }));
    const names = data.phases.length > 1 ? placeNames(begins, left, W - right) : [];
    const top = 10 + 14 * names.reduce((most, name) => Math.max(most, name.row + 1), 0);
    const py = (y) => H - bottom - ((y - y0) / (y1 - y0)) * (H - top - bottom);

    data.phases.forEach((phase, i) => {
      if (data.phases.length < 2) return;
      const [a, b] = [begins[i].x, Math.min(px(phase.to + 0.5), W - right)];
      if (i % 2 === 0) draw(svg, 'rect', { class: 'band', x: a, y: top, width: Math.max(b - a, 1), height: H - top - bottom });
      if (i) draw(svg, 'line', { class: 'border', x1: a, x2: a, y1: top, y2: H - bottom });
    });
    for (const name of names) draw(svg, 'text', { class: 'phase', x: name.x + 2, y: 12 + 14 * name.row }, name.name);
    for (const tick of niceTicks(y0, y1, 4)) {
      draw(svg, 'line', { class: 'grid', x1: left, x2: W - right, y1: py(tick), y2: py(tick) });
      draw(svg, 'text', { x: left - 8, y: py(tick) + 4, 'text-anchor': 'end' }, format(tick, chart.percent));
    }
    for (const tick of niceTicks(x0, x1, W < 400 ? 4 : 6).filter(Number.isInteger)) {
      draw(svg, 'text', { x: px(tick), y: H - bottom + 16, 'text-anchor': 'middle' }, tick);
    }
    draw(svg, 'text', { class: 'axis x', x: (left + W - right) / 2, y: H - 6, 'text-anchor': 'middle' }, data.x_axis);
    const middle = (top + H - bottom) / 2;
    // A title that is longer than its axis is made to fit.
    const fit = textWidth(chart.axis) > H - 8 ? { textLength: H - 8, lengthAdjust: 'spacingAndGlyphs' } : {};
    const anchor = Math.min(Math.max(middle, textWidth(chart.axis) / 2 + 4), H / 2);
    draw(svg, 'text', { class: 'axis y', x: 0, y: 0, 'text-anchor': 'middle', transform: `translate(13 ${anchor}) rotate(-90)`, ...fit }, chart.axis);
    for (const series of chart.series) {
      const style = ink(series);
      if (series.baseline !== null) {
        draw(svg, 'line', { class: 'base', style, x1: left, x2: W - right, y1: py(series.baseline), y2: py(series.baseline) });
      }
      draw(svg, 'path', { class: 'line', style, d: outline(series.points, px, py), 'data-label': series.label });
      const last = series.points.filter((p) => p[1] !== null).pop();
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
    const tables = chart.series.map((s) => new Map(s.points.filter((p) => p[1] !== null)));
    svg.addEventListener('pointermove', (event) => {
      const frame = svg.getBoundingClientRect();
      const at = ((event.clientX - frame.left) / frame.width) * box.W;
      const wanted = box.x0 + ((at - box.left) / (box.W - box.left - box.right)) * (box.x1 - box.x0);
      const x = data.steps.reduce((best, s) => (Math.abs(s - wanted) < Math.abs(best - wanted) ? s : best));
      cursor.setAttribute('x1', box.px(x));
      cursor.setAttribute('x2', box.px(x));
      cursor.setAttribute('visibility', 'visible');
      tip.replaceChildren(make('div', '', data.labels[data.steps.indexOf(x)]));
      chart.series.forEach((series, i) => {
        if (!tables[i].has(x)) return;
        const row = make('div');
        const dot = make('span', 'dot');
        dot.setAttribute('style', ink(series));
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
  data.terrains.forEach((name, i) => legend.append(named(name, `--c:${colour(i)}`)));

  function drawCharts() {
    for (const id of ['charts', 'more-charts']) document.getElementById(id).replaceChildren();
    for (const chart of data.charts) addChart(document.getElementById(chart.main ? 'charts' : 'more-charts'), chart);
  }
  document.getElementById('more').hidden = !data.charts.some((chart) => !chart.main);
  let drawn = 0;
  new ResizeObserver(() => {
    const room = roomFor();
    if (room !== drawn) drawCharts();
    drawn = room;
  }).observe(document.querySelector('main'));

  // ---- wide tables -------------------------------------------------------------------------------------------------
  // A table that is wider than the page says so, and shows on which side there is more.
  for (const frame of document.querySelectorAll('.wide')) {
    const scroll = frame.querySelector('.scroll');
    const look = () => {
      const [more, at] = [scroll.scrollWidth - scroll.clientWidth, scroll.scrollLeft];
      frame.classList.toggle('overflows', more > 1);
      frame.classList.toggle('more-left', at > 1);
      frame.classList.toggle('more-right', at < more - 1);
      if (more > 1) scroll.tabIndex = 0;
      else scroll.removeAttribute('tabindex');
    };
    scroll.addEventListener('scroll', look, { passive: true });
    new ResizeObserver(look).observe(scroll);
    new ResizeObserver(look).observe(scroll.firstElementChild);
  }
})();
