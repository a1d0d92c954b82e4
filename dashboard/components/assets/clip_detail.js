// The card at its fixed place: one cell in full, and its token through the layers.
const CHART = { width: 216, height: 112, left: 34, right: 8, top: 8, bottom: 20 };

const shownCell = () => (state.pinned || !state.hover ? state.selected : state.hover);
const followedToken = ({ row, position }) => (state.follow === null ? tokenAt(row, position, 0) : state.follow);

function drawDetail() {
  const cell = shownCell();
  const { row, position } = cell;
  const card = find('.cl-detail');
  const hadFocus = card.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const span = `${startOf(position).toFixed(2)} to ${startOf(position + 1).toFixed(2)} s`;
  const spoken = spokenWords(position);
  card.replaceChildren(
    el('h3', '', `${layerName(row)} · ${span}`, state.pinned ? el('span', 'cl-pinned', 'pinned') : null),
    el('p', 'cl-small', spoken.length ? 'spoken here: ' : 'no word is spoken here', spoken.length ? el('b', '', spoken.join(' ')) : null),
    tokenList(cell),
    ...cellFacts(cell),
    detailButtons(),
    el('p', 'cl-small cl-chart-title', 'through the layers: ', el('b', 'cl-follow-name', state.tokens.labels[followedToken(cell)])),
    pathChart(cell),
    pathKey(cell),
    el('p', 'cl-small cl-keys', 'arrow keys walk · space plays 0.3 s · Esc lets go'),
  );
  card.classList.toggle('is-pinned', state.pinned);
  if (hadFocus) card.querySelector(`[data-key="${hadFocus}"]`)?.focus();
}

function tokenList(cell) {
  const list = el('ol', 'cl-tokens');
  const best = probabilityAt(cell.row, cell.position, 0);
  for (let k = 0; k < lens().top_k; k++) {
    const token = tokenAt(cell.row, cell.position, k);
    const kind = kindOf(cell.row, cell.position, k);
    const probability = probabilityAt(cell.row, cell.position, k);
    const { mark, words } = MARKS[kind];
    const node = button('cl-token', el('span', 'cl-token-text', state.tokens.labels[token]), () => followToken(token));
    node.append(el('span', 'cl-mark cl-is-' + kind, mark), bar(probability / Math.max(best, 0.3), 'cl-is-' + kind), el('span', 'cl-number', probability.toFixed(2)));
    const label = `${state.tokens.labels[token]}, probability ${probability.toFixed(3)}${words}. Follow through the layers`;
    withAttributes(node, { 'aria-label': label, title: probability.toFixed(4) + words, 'aria-pressed': String(token === followedToken(cell)), 'data-key': 'token' + k });
    list.append(el('li', '', node));
  }
  return list;
}

function detailButtons() {
  const slice = withAttributes(button('cl-btn', '▶ this slice', playCell), { 'data-key': 'slice' });
  slice.disabled = !state.data.audio.url;
  const pin = button('cl-btn', state.pinned ? 'unpin' : 'pin', () => setPinned(!state.pinned));
  withAttributes(pin, { 'aria-pressed': String(state.pinned), 'data-key': 'pin' });
  return el('div', 'cl-row', slice, pin);
}

/** Rank of a token in a cell, or null when it is not among the tokens that were sent. */
function rankOfToken(token, row, position) {
  for (let k = 0; k < lens().top_k; k++) if (tokenAt(row, position, k) === token) return k + 1;
  return null;
}

/** Line chart: followed token (known within the top k) and the words asked for (known at every rank), rank on a log axis. */
function pathChart(cell) {
  const { position } = cell;
  const token = followedToken(cell);
  const rows = [...lens().layers.keys()];
  const own = rows.map((row) => rankOfToken(token, row, position));
  const words = WORD_PATHS.map(({ rankAt, name }) => ({ name, ranks: rows.map((row) => rankAt(row, position) || null) }));
  const deepest = Math.max(2 * lens().top_k, ...words.flatMap(({ ranks }) => ranks.map((rank) => rank || 0)));
  const { width, height, left, right, top, bottom } = CHART;
  const x = (row) => left + 8 + (rows.length < 2 ? 0 : (row / (rows.length - 1)) * (width - left - right - 8));
  const y = (rank) => top + (Math.log(rank) / Math.log(deepest)) * (height - top - bottom);
  const chart = svg('svg', { class: 'cl-path', viewBox: `0 0 ${width} ${height}`, role: 'img' });
  chart.append(svg('title', {}, pathSummary(token, own)));
  for (let rank = 1; rank <= deepest; rank *= 10) {
    chart.append(svg('line', { class: 'cl-axis', x1: left, x2: width - right, y1: y(rank), y2: y(rank) }));
    chart.append(svg('text', { x: left - 5, y: y(rank) + 3.5, 'text-anchor': 'end' }, rank === 1 ? 'rank 1' : compact(rank)));
  }
  chart.append(svg('line', { class: 'cl-now', x1: x(cell.row), x2: x(cell.row), y1: top - 4, y2: height - bottom + 2 }));
  chart.append(...words.flatMap(({ name, ranks }) => pathLine(ranks, x, y, `cl-${name}-line`)), ...pathLine(own, x, y, 'cl-own-line'));
  const edge = y(lens().top_k * 1.5);
  own.forEach((rank, row) => {
    if (rank === null) chart.append(svg('circle', { class: 'cl-own-out', cx: x(row), cy: edge, r: 2 }));
    else chart.append(withTitle(svg('circle', { class: 'cl-own-dot', cx: x(row), cy: y(rank), r: 3 }), `${layerName(row)}: rank ${rank}, probability ${probabilityAt(row, position, rank - 1).toFixed(3)}`));
  });
  for (const row of new Set([0, Math.round((rows.length - 1) / 2), rows.length - 1])) {
    const anchor = row === 0 ? 'start' : row === rows.length - 1 ? 'end' : 'middle';
    chart.append(svg('text', { x: x(row), y: height - 4, 'text-anchor': anchor }, layerName(row)));
  }
  return chart;
}

function withTitle(node, text) {
  node.append(svg('title', {}, text));
  return node;
}

/** Polylines of the stretches where the rank is known. */
function pathLine(ranks, x, y, className) {
  const lines = [];
  let points = [];
  ranks.concat([null]).forEach((rank, row) => {
    if (rank !== null) points.push(`${x(row)},${y(rank)}`);
    else {
      if (points.length) lines.push(svg('polyline', { class: className, points: points.join(' ') }));
      points = [];
    }
  });
  return lines;
}

function pathSummary(token, own) {
  const seen = own.map((rank, row) => (rank === null ? null : `${layerName(row)} rank ${rank}`)).filter(Boolean);
  return `${state.tokens.labels[token]}: ${seen.length ? seen.join(', ') : 'in the top ' + lens().top_k + ' of no layer'}`;
}

function pathKey({ row, position }) {
  const key = el('p', 'cl-small cl-path-key', el('span', 'cl-key-own', 'token'), el('span', 'cl-key-out', `not in top ${lens().top_k}`));
  for (const { rankAt, name, text } of WORD_PATHS) if (rankAt(row, position)) key.append(el('span', 'cl-key-' + name, text));
  return key;
}
