// Caption, legend, the line a layer reads, and the grid as a table for screen readers.
function drawCaption() {
  find('.cl-caption').textContent = captionParts().join('; ');
}

const countCells = (test) => state.shown.reduce((sum, row) => {
  for (let position = 0; position < nPositions(); position++) if (test(row, position)) sum++;
  return sum;
}, 0);

const swatch = (className, text, count) => el('span', 'cl-key', el('i', 'cl-swatch ' + className), text, count === undefined ? null : el('span', 'cl-count', String(count)));

const LEGENDS = {
  spoken: () => [
    ['spoken', 'the word being spoken'], ['elsewhere', 'elsewhere in the transcript'],
    ['fragment', 'a piece of the word'], ['none', 'not in the transcript'],
  ].map(([kind, text]) => swatch('cl-sw-' + kind, text, countCells((row, position) => topKind(row, position) === kind))),
  probability: () => [el('span', 'cl-key', 'probability of the top token 0', el('i', 'cl-ramp'), '1')],
  entropy: () => [el('span', 'cl-key', 'entropy 0', el('i', 'cl-ramp'), lens().entropy_top.toFixed(1) + ' nats')],
  rank() {
    const keys = RANK_STEPS.map((step, i) => {
      const above = i ? RANK_STEPS[i - 1].top : 0;
      return swatch('cl-sw-rank' + i, step.text, countCells((row, position) => wordRankAt(row, position) > above && wordRankAt(row, position) <= step.top));
    });
    return [...keys, swatch('cl-sw-silent', 'nothing spoken', countCells((row, position) => !wordRankAt(row, position)))];
  },
  class: () => [['word', state.tokens.spaced ? 'word, or start of one' : 'word'], ['fragment', 'inside a word'], ['non-word', 'non-word']].map(([kind, text]) =>
    swatch('cl-sw-class-' + kind, text, countCells((row, position) => state.tokens.classes[tokenAt(row, position, 0)] === kind))),
};

function drawLegend() {
  find('.cl-legend').replaceChildren(...LEGENDS[state.mode](), ...curveKeys());
}

function drawReads() {
  const row = state.focusRow === null ? shownCell().row : state.focusRow;
  find('.cl-reads').replaceChildren(el('span', 'cl-reads-layer', layerName(row) + ' reads'), layerText(row) || 'no words');
}

/** Made when opened: thousands of cells are not worth their time before someone wants them. */
function drawTable() {
  const body = find('.cl-table-body');
  body.replaceChildren();
  if (!find('.cl-table').open) return;
  const table = el('table', '', el('caption', '', tableCaption()));
  const head = el('tr', '', withAttributes(el('th', '', 'layer'), { scope: 'col' }), withAttributes(el('th', '', TABLE_NUMBER), { scope: 'col' }));
  const spoken = el('tr', '', withAttributes(el('th', '', 'spoken'), { scope: 'row' }), el('td', '', ''));
  for (let position = 0; position < nPositions(); position++) {
    head.append(withAttributes(el('th', '', startOf(position).toFixed(2) + ' s'), { scope: 'col' }));
    spoken.append(el('td', '', spokenWords(position).join(' ')));
  }
  const rows = [...state.shown].reverse().map(tableRow);
  table.append(el('thead', '', head), el('tbody', '', spoken, ...rows));
  body.append(withAttributes(el('div', 'cl-table-scroll', table), { tabindex: '0', role: 'region', 'aria-label': 'The grid as a table' }));
}

function tableRow(row) {
  const line = el('tr', '', withAttributes(el('th', '', layerName(row)), { scope: 'row' }), el('td', 'cl-number', layerWords(row).number));
  for (let position = 0; position < nPositions(); position++) {
    const kind = topKind(row, position);
    line.append(el('td', 'cl-td-' + kind, labelAt(row, position, 0), el('small', '', ' ' + probabilityAt(row, position, 0).toFixed(2) + TABLE_NOTES[kind])));
  }
  return line;
}
