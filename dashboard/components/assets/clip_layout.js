// Geometry: strips share one time axis; the left column (labels, emergence strip, layer buttons) follows it.
const RULER_PX = 20, WAVE_PX = 48, MEL_PX = 70, WORDS_PX = 26, GAP_PX = 6;

/** Strips from top to bottom: {name, label, y, height}. */
function planStrips(rowPx) {
  const plan = [['ruler', 'seconds', RULER_PX], ['wave', 'sound', WAVE_PX], ['mel', 'spectrogram', MEL_PX]];
  for (const lane of wordLanes()) plan.push([lane.name, lane.label, WORDS_PX]);
  plan.push(['grid', '', rowPx * state.shown.length]);
  let y = 0;
  const strips = {};
  for (const [name, label, height] of plan) {
    strips[name] = { name, label, y, height };
    y += height + (name === 'ruler' ? 0 : name === 'wave' ? 4 : GAP_PX);
  }
  return { strips, height: y - GAP_PX };
}

/** The whole clip fits when columns stay wide enough; a clip that must scroll anyway gets readable columns. */
function columnWidth(fit) {
  if (!hasLens()) return fit;
  if (state.columnPx !== null) return Math.max(COLUMN_PX.least, fit, state.columnPx);
  return fit >= COLUMN_PX.least ? fit : COLUMN_PX.readable;
}

/** Fresh geometry for the present width, zoom and layers. Null while the view has no width (hidden tab). */
function layout() {
  const width = find('.cl-scroll').clientWidth;
  if (!width || !state.data) return null;
  const rows = state.shown.length;
  const rowPx = Math.max(18, Math.min(30, Math.round(270 / rows)));
  const fit = width / (axisSeconds() / lens().seconds_per_position);
  const columnPx = columnWidth(fit);
  const pxPerSecond = columnPx / lens().seconds_per_position;
  const { strips, height } = planStrips(rowPx);
  const content = Math.max(width, Math.round(axisSeconds() * pxPerSecond));
  state.view = { width, content, columnPx, pxPerSecond, rowPx, strips, height, scroll: 0 };
  find('.cl-spacer').style.width = content + 'px';
  find('.cl-stage').style.width = width + 'px';
  find('.cl-stage').style.height = height + 'px';
  for (const selector of ['.cl-base', '.cl-over']) sizeCanvas(find(selector), width, height);
  find('.cl-zoom-out').disabled = columnPx <= Math.max(COLUMN_PX.least, fit) + 0.01;
  find('.cl-zoom-in').disabled = columnPx >= MAX_COLUMN_PX;
  drawLeft();
  return state.view;
}

function sizeCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = width + 'px';
  canvas.style.height = height + 'px';
  canvas.getContext('2d').setTransform(ratio, 0, 0, ratio, 0, 0);
}

const xOf = (time) => time * state.view.pxPerSecond - state.view.scroll;
/** Width of a position in pixels. */
const widthOf = (position) => (startOf(position + 1) - startOf(position)) * state.view.pxPerSecond;
const timeOfX = (x) => Math.max(0, Math.min(axisSeconds(), (x + state.view.scroll) / state.view.pxPerSecond));
/** Top of a layer's row; the lowest layer is at the bottom. */
const yOfRow = (row) => state.view.strips.grid.y + (state.shown.length - 1 - state.shown.indexOf(row)) * state.view.rowPx;

/** Label column: names of the strips, curves, one button per layer. */
function drawLeft() {
  const left = find('.cl-left');
  const keep = document.activeElement && left.contains(document.activeElement) ? document.activeElement.dataset.row : null;
  left.replaceChildren();
  left.style.height = state.view.height + 'px';
  for (const strip of Object.values(state.view.strips)) {
    if (!strip.label) continue;
    const label = el('span', 'cl-strip-label', strip.label);
    label.style.top = strip.y + 'px';
    label.style.height = (strip.name === 'ruler' ? 14 : strip.height) + 'px';
    left.append(label);
  }
  if (hasLens()) left.append(leftChart(left.clientWidth));
  for (const row of [...state.shown].reverse()) left.append(layerButton(row));
  if (keep !== null) left.querySelector(`[data-row="${keep}"]`)?.focus();
}

function layerButton(row) {
  const layer = lens().layers[row];
  const { number, title } = layerWords(row);
  const degenerate = lens().degenerate_layers.includes(layer);
  const node = button('cl-layer', el('span', 'cl-layer-number', number), () => focusLayer(row));
  node.append(el('span', 'cl-layer-name', degenerate ? el('span', 'cl-warn-mark', '⚠') : null, layerName(row)));
  withAttributes(node, { title, 'aria-label': title, 'aria-pressed': String(state.focusRow === row), 'data-row': row });
  node.style.top = yOfRow(row) + 'px';
  node.style.height = state.view.rowPx + 'px';
  return node;
}

/** The curves over layers, sharing the rows of the grid; controls are dashed. */
function leftChart(width) {
  const { strips, rowPx } = state.view;
  const from = 36, to = width - 44;
  const series = leftSeries();
  const top = Math.max(0.2, ...state.shown.flatMap((row) => series.map(({ values }) => values[row] || 0)));
  const chart = svg('svg', { class: 'cl-emergence', width, height: strips.grid.height, 'aria-hidden': 'true' });
  chart.style.top = strips.grid.y + 'px';
  const point = (values) => (row) => [from + (Math.max(0, values[row]) / top) * (to - from), yOfRow(row) - strips.grid.y + rowPx / 2];
  chart.append(svg('line', { class: 'cl-axis', x1: from, x2: from, y1: 2, y2: strips.grid.height - 2 }));
  for (const { values, name, dots } of series) {
    const points = state.shown.filter((row) => values[row] !== null).map(point(values));
    chart.append(svg('polyline', { class: 'cl-line-' + name, points: points.map((p) => p.join()).join(' ') }));
    if (dots) for (const [cx, cy] of points) chart.append(svg('circle', { class: 'cl-dot cl-dot-' + name, cx, cy, r: 2.2 }));
  }
  return chart;
}
