// Mounting: follow the value, the width and the theme; publish the state that tests read.

function drawAll() {
  if (!state.data) return;
  readPalette();
  drawAround();
  ROOT.classList.toggle('cl-no-lens', !hasLens());
  if (hasLens()) drawLens();
  else drawLensOff();
  showPlaying();
  if (layout()) {
    setTime(state.time);
    redraw();
  }
}

function drawLens() {
  drawCaption();
  drawSubset();
  drawLegend();
  drawDetail();
  drawReads();
  drawTable();
}

/** Where the grid would be: why there is none. */
function drawLensOff() {
  find('.cl-caption').textContent = 'the sound and the cascade’s words on the clock';
  find('.cl-off').replaceChildren(el('b', '', 'No lens. '), state.data.not_measured.lens);
}

function drawSubset() {
  const { layers, preset_layers: preset, preset_is_the_papers: papers } = lens();
  find('.cl-subset-tool').hidden = preset.length >= layers.length;
  const choices = [['preset', papers ? 'paper’s nine' : `${preset.length} spread evenly`], ['all', `all ${layers.length}`]];
  find('.cl-subset').replaceChildren(...choices.map(([value, text]) => withAttributes(el('option', '', text), { value })));
  find('.cl-subset').value = state.subset;
}

async function takeReady(value) {
  const turn = ++state.load;
  const decoded = await unpack(value);
  if (turn !== state.load) return;
  stopSound();
  Object.assign(state, decoded, { data: value, turn, k: value.k, pinned: false, follow: null, hover: null, focusRow: null, implicit: new Map(), asked: null, asking: null, columnPx: null, time: 0, selected: { row: 0, position: 0 } });
  chooseLayers();
  studyTokens();
  if (hasLens()) state.selected = firstCell();
  const clock = `Sound and words over ${state.data.audio.duration_s.toFixed(2)} seconds. Arrow keys move the cursor, space plays.`;
  find('.cl-over').setAttribute('aria-label', !hasLens() ? clock : `Lens grid, ${nLayers()} layers by ${nPositions()} positions over ${state.data.audio.duration_s.toFixed(2)} seconds. Arrow keys walk, Enter pins, space plays, Escape lets go. A table form follows below.`);
  ROOT.dataset.status = 'ready';
  find('.cl-body').inert = false;
  find('.cl-scroll').scrollLeft = 0;
  notice(null);
  drawAll();
  if (state.view) keepInView(xOf(startOf(state.selected.position + 1)));
}

/** The line above the view: what is being done, or what went wrong. */
function notice(kind, text, fraction) {
  const line = find('.cl-notice');
  line.className = 'cl-notice' + (kind ? ' cl-notice-' + kind : '');
  line.replaceChildren();
  if (!kind) return;
  const old = state.data ? ' · what stands below is the run before' : '';
  line.append(el('b', '', kind === 'error' ? 'This run did not finish. ' : ''), text, el('span', 'cl-small', old));
  if (fraction !== null && fraction !== undefined) line.append(withAttributes(bar(fraction), { role: 'progressbar', 'aria-valuenow': Math.round(fraction * 100), 'aria-label': 'progress' }));
}

async function take(value) {
  if (!value || typeof value !== 'object') return;
  if (value.status === 'ready') {
    try {
      await takeReady(value);
    } catch (error) {
      console.error(error);
      notice('error', 'This result could not be drawn; a browser of 2023 or later is needed.');
    }
    return;
  }
  if (value.status in PARTIAL) return PARTIAL[value.status](value);
  state.load++;
  const hasOld = state.data !== null && value.status !== 'empty';
  if (value.status === 'empty') {
    stopSound();
    state.data = state.view = null;
  }
  ROOT.dataset.status = value.status;
  ROOT.classList.toggle('cl-has-old', hasOld);
  find('.cl-body').inert = hasOld && value.status === 'running';
  if (value.status === 'running') notice('running', value.message || 'Running', value.fraction);
  else if (value.status === 'error') notice('error', value.message || 'Try again.');
  else notice(null);
}

/** Read by tests and by anyone at the console. Layers are the model's layer numbers, not rows. */
function publish() {
  window[NAME] = {
    get status() { return ROOT.dataset.status; },
    get layers() { return state.data ? [...lens().layers] : []; },
    get shownLayers() { return state.data ? state.shown.map((row) => lens().layers[row]) : []; },
    get positions() { return state.data ? nPositions() : 0; },
    get mode() { return state.mode; },
    get k() { return state.k ?? null; },
    get time() { return state.time; },
    get playing() { return Boolean(player.node); },
    get selection() {
      if (!hasLens()) return null;
      const { row, position } = shownCell();
      return { layer: lens().layers[row], position, pinned: state.pinned };
    },
    cell(layer, position) {
      if (!state.data) return null;
      const row = lens().layers.indexOf(layer);
      if (row < 0 || position < 0 || position >= nPositions()) return null;
      const token = state.vocabulary[tokenAt(row, position, 0)];
      return { token, probability: probabilityAt(row, position, 0), start_s: startOf(position), end_s: startOf(position + 1), ...ownOfCell(row, position) };
    },
    /** Middle of a cell in page coordinates, for tests that click on the canvas. */
    pointOf(layer, position) {
      const row = state.data ? lens().layers.indexOf(layer) : -1;
      if (!state.view || !state.shown.includes(row)) return null;
      keepInView(xOf(startOf(position)));
      state.view.scroll = find('.cl-scroll').scrollLeft;
      const box = find('.cl-over').getBoundingClientRect();
      return { x: box.left + xOf(middleOf(position)), y: box.top + yOfRow(row) + state.view.rowPx / 2 };
    },
  };
}

let lastWidth = 0;
new ResizeObserver(() => {
  const width = find('.cl-scroll').clientWidth;
  if (!state.data || !width || width === lastWidth) return;
  lastWidth = width;
  if (layout()) redraw();
}).observe(find('.cl-scroll'));

const themeWatcher = new MutationObserver(() => state.data && (readPalette(), redraw()));
for (const node of [document.documentElement, document.body]) themeWatcher.observe(node, { attributes: true, attributeFilter: ['class'] });

state.mode = MODES[0][0];
find('.cl-mode').replaceChildren(...MODES.map(([value, text]) => withAttributes(el('option', '', text), { value })));
listen();
publish();
watch('value', () => take(props.value));
take(props.value);
