// Reports what is pressed in a part of the benchmark page; keys walk the matrix; hover says a cell in words.
const matrixCells = () => [...element.querySelectorAll('.bm-cell')];

function report(target) {
  if (target.dataset.do === 'pair' || target.dataset.do === 'class') {
    for (const other of element.querySelectorAll(`[data-do="${target.dataset.do}"]`)) {
      other.setAttribute('aria-pressed', String(other === target));
      if (other.classList.contains('bm-cell')) other.tabIndex = other === target ? 0 : -1;
    }
  }
  trigger('select', { do: target.dataset.do, value: target.dataset.value });
}

function say(cell) {
  const line = element.querySelector('.bm-readout');
  const chosen = cell || element.querySelector('.bm-cell[aria-pressed="true"]');
  if (line) line.textContent = chosen ? chosen.dataset.say : '';
}

function neighbour(cell, key) {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  if (!step) return null;
  const place = (one) => [one.closest('td').cellIndex, one.closest('tr').rowIndex];
  const [column, row] = place(cell);
  const onward = matrixCells().filter((one) => {
    const [x, y] = place(one);
    return step[0] ? y === row && (x - column) * step[0] > 0 : x === column && (y - row) * step[1] > 0;
  });
  const distance = (one) => Math.abs(place(one)[0] - column) + Math.abs(place(one)[1] - row);
  return onward.sort((one, other) => distance(one) - distance(other))[0] || null;
}

function copy(target) {
  const text = element.querySelector(target.dataset.value).textContent;
  const done = () => { target.textContent = 'Copied'; setTimeout(() => { target.textContent = 'Copy'; }, 1500); };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => {});
  else getSelection().selectAllChildren(element.querySelector(target.dataset.value));
}

// gr.Plot hides Plotly's own options; its mode bar reads the format from here when its camera is pressed.
function saveChart(target) {
  const [id, format] = target.dataset.value.split('.');
  const chart = document.querySelector(`#${id} .js-plotly-plot`);
  if (!chart) return;
  chart._context.toImageButtonOptions = { format, filename: id, scale: format === 'png' ? 2 : 1 };
  chart.querySelector('.modebar-btn[data-title^="Download plot"]').click();
}

element.addEventListener('click', (event) => {
  const target = event.target.closest('[data-do]');
  if (!target || !element.contains(target)) return;
  if (target.dataset.do === 'copy') copy(target);
  else if (target.dataset.do === 'chart') saveChart(target);
  else report(target);
});
element.addEventListener('keydown', (event) => {
  const cell = event.target.closest('.bm-cell');
  const next = cell && neighbour(cell, event.key);
  if (!next) return;
  event.preventDefault();
  next.focus();
});
for (const [enter, leave] of [['mouseover', 'mouseout'], ['focusin', 'focusout']]) {
  element.addEventListener(enter, (event) => { const cell = event.target.closest('.bm-cell'); if (cell) say(cell); });
  element.addEventListener(leave, (event) => { if (event.target.closest('.bm-cell')) say(null); });
}
