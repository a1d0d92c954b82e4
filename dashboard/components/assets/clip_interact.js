// Pointer, keyboard and controls. Nothing here asks the server.

function say(text) {
  find('.cl-live').textContent = text;
}

function refreshCell() {
  if (hasLens()) {
    drawDetail();
    drawReads();
  }
  if (state.view) drawOverlay();
}

function select(row, position) {
  state.selected = { row, position };
  state.hover = null;
}

function setPinned(pinned) {
  if (!hasLens()) return;
  if (pinned) select(shownCell().row, shownCell().position);
  else state.follow = null;
  state.pinned = pinned;
  refreshCell();
}

/** Follow a token through the layers: this pins its cell. */
function followToken(token) {
  if (!state.pinned) setPinned(true);
  state.follow = token;
  refreshCell();
}

function focusLayer(row) {
  state.focusRow = state.focusRow === row ? null : row;
  select(row, state.selected.position);
  for (const node of ROOT.querySelectorAll('.cl-layer')) node.setAttribute('aria-pressed', String(Number(node.dataset.row) === state.focusRow));
  onFocus();
  refreshCell();
  redraw();
}

function keepInView(x) {
  const margin = Math.min(60, state.view.width / 4);
  const scroll = find('.cl-scroll');
  if (x < 0 || x > state.view.width - 4) scroll.scrollLeft += x < 0 ? x - margin : x - margin;
}

/** What lies under a pointer event: time, and the cell when it is over the grid. */
function under(event) {
  const box = find('.cl-over').getBoundingClientRect();
  const y = event.clientY - box.top;
  const time = timeOfX(event.clientX - box.left);
  const { strips, rowPx } = state.view;
  const line = Math.floor((y - strips.grid.y) / rowPx);
  const inGrid = line >= 0 && line < state.shown.length;
  return { time, cell: inGrid ? { row: state.shown[state.shown.length - 1 - line], position: positionAt(time) } : null };
}

function onMove(event) {
  if (!state.view || event.pointerType === 'touch') return;
  const { time, cell } = under(event);
  state.hoverTime = time;
  if (event.buttons === 1 && !cell) return seek(time);
  const before = state.hover;
  state.hover = cell;
  if (before?.row !== cell?.row || before?.position !== cell?.position) refreshCell();
  else drawOverlay();
}

function onLeave() {
  state.hover = state.hoverTime = null;
  if (state.data && state.view) refreshCell();
}

function seek(time) {
  const wasPlaying = Boolean(player.node);
  setTime(time);
  select(state.selected.row, positionAt(time));
  refreshCell();
  if (wasPlaying) play(state.time, state.data.audio.duration_s);
}

function onClick(event) {
  if (!state.view) return;
  const { time, cell } = under(event);
  if (!cell) return seek(time);
  const again = state.pinned && cell.row === state.selected.row && cell.position === state.selected.position;
  state.follow = null;
  state.pinned = !again;
  select(cell.row, cell.position);
  seek(time);
}

function walk(layers, positions) {
  if (!hasLens()) return seek(state.time + positions * startOf(1));
  const at = Math.max(0, state.shown.indexOf(state.selected.row));
  const row = state.shown[Math.max(0, Math.min(state.shown.length - 1, at + layers))];
  const position = Math.max(0, Math.min(nPositions() - 1, state.selected.position + positions));
  select(row, position);
  if (positions) setTime(middleOf(position));
  keepInView(xOf(startOf(position)));
  refreshCell();
  const here = spokenWords(position).join(' ');
  say(`Layer ${lens().layers[row]}, ${startOf(position).toFixed(2)} s: ${labelAt(row, position, 0)} ${probabilityAt(row, position, 0).toFixed(2)}${here ? ', spoken here: ' + here : ''}`);
}

const KEYS = {
  ArrowLeft: () => walk(0, -1),
  ArrowRight: () => walk(0, 1),
  ArrowUp: () => walk(1, 0),
  ArrowDown: () => walk(-1, 0),
  Home: () => walk(0, -Infinity),
  End: () => walk(0, Infinity),
  Enter: () => setPinned(!state.pinned),
  ' ': () => (player.node ? stopSound() : playUnderCursor()),
};

function onKey(event) {
  const action = KEYS[event.key];
  if (!action || !state.view || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
}

function onEscape(event) {
  if (event.key !== 'Escape' || !state.data) return;
  stopSound();
  if (state.focusRow !== null) focusLayer(state.focusRow);
  setPinned(false);
}

function chooseLayers() {
  if (!hasLens()) return void (state.shown = []);
  const preset = state.subset === 'preset';
  state.shown = lens().layers.map((layer, row) => row).filter((row) => !preset || lens().preset_layers.includes(lens().layers[row]));
  if (!state.shown.includes(state.selected.row)) {
    const near = (row) => Math.abs(row - state.selected.row);
    state.selected = { ...state.selected, row: state.shown.reduce((best, row) => (near(row) < near(best) ? row : best)) };
  }
  if (!state.shown.includes(state.focusRow)) state.focusRow = null;
}

/** Change how wide a column is, keeping the selected cell where it can be seen. */
function zoomBy(factor) {
  state.columnPx = Math.min(MAX_COLUMN_PX, state.view.columnPx * factor);
  layout();
  find('.cl-scroll').scrollLeft = startOf(state.selected.position) * state.view.pxPerSecond - state.view.width / 2;
  redraw();
}

function listen() {
  const over = find('.cl-over');
  over.addEventListener('pointermove', onMove);
  over.addEventListener('pointerleave', onLeave);
  over.addEventListener('click', onClick);
  over.addEventListener('keydown', onKey);
  ROOT.addEventListener('keydown', onEscape);
  find('.cl-scroll').addEventListener('scroll', redraw, { passive: true });
  find('.cl-play').addEventListener('click', togglePlay);
  find('.cl-zoom-in').addEventListener('click', () => zoomBy(1.5));
  find('.cl-zoom-out').addEventListener('click', () => zoomBy(1 / 1.5));
  find('.cl-table').addEventListener('toggle', drawTable);
  find('.cl-mode').addEventListener('change', (event) => {
    state.mode = event.target.value;
    drawLegend();
    redraw();
  });
  find('.cl-subset').addEventListener('change', (event) => {
    state.subset = event.target.value;
    chooseLayers();
    drawAll();
  });
}
