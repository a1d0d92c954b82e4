// The base canvas: ruler, waveform, spectrogram, words, grid. Only the visible stretch of time is drawn.
let frame = 0;

/** Ask for one redraw of everything at the next frame. */
function redraw() {
  if (frame) return;
  frame = requestAnimationFrame(() => {
    frame = 0;
    if (!state.data || !state.view) return;
    state.view.scroll = find('.cl-scroll').scrollLeft;
    drawBase();
    drawOverlay();
  });
}

function drawBase() {
  const context = find('.cl-base').getContext('2d');
  const { width, height, strips } = state.view;
  context.clearRect(0, 0, width, height);
  context.textBaseline = 'middle';
  drawRuler(context, strips.ruler);
  drawWave(context, strips.wave);
  drawMel(context, strips.mel);
  for (const lane of wordLanes()) drawWords(context, strips[lane.name], lane.words);
  drawGrid(context, strips.grid);
}

function drawRuler(context, strip) {
  const { width, pxPerSecond } = state.view;
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30].find((s) => s * pxPerSecond >= 62) || 60;
  context.font = '11px ' + FONT;
  context.fillStyle = css(palette.mut);
  context.strokeStyle = css(palette.line);
  for (let i = Math.max(0, Math.floor(timeOfX(-40) / step)); i * step <= axisSeconds(); i++) {
    const x = xOf(i * step);
    if (x > width + 40) break;
    const text = (i * step).toFixed(step < 1 ? 1 : 0);
    const half = context.measureText(text).width / 2;
    const atEdge = Math.max(half + 1 - state.view.scroll, Math.min(x, xOf(axisSeconds()) - half - 1));
    context.textAlign = 'center';
    context.fillText(text, atEdge, strip.y + 7);
    context.beginPath();
    context.moveTo(Math.round(x) + 0.5, strip.y + 14);
    context.lineTo(Math.round(x) + 0.5, strip.y + strip.height);
    context.stroke();
  }
  context.textAlign = 'left';
}

function drawWave(context, strip) {
  const values = state.arrays.envelope;
  const bins = values.length / 2;
  const duration = state.data.audio.duration_s;
  const middle = strip.y + strip.height / 2;
  const gain = strip.height / 2 / 127;
  context.fillStyle = css(palette.acc);
  const step = (duration / bins) * state.view.pxPerSecond;
  for (let bin = 0; bin < bins; bin++) {
    const x = xOf((bin * duration) / bins);
    if (x < -step || x > state.view.width) continue;
    const top = middle - values[bins + bin] * gain;
    const height = Math.max(1, (values[bins + bin] - values[bin]) * gain);
    context.fillRect(x, top, Math.max(0.7, step * 0.78), height);
  }
}

let melImage = null; // {key, canvas}: the picture is coloured once per run and theme

function melCanvas() {
  const key = state.load + css(palette.ink);
  if (melImage && melImage.key === key) return melImage.canvas;
  const [bands, columns] = state.data.arrays.mel.shape;
  const canvas = withAttributes(document.createElement('canvas'), { width: columns, height: bands });
  const context = canvas.getContext('2d');
  const image = context.createImageData(columns, bands);
  for (let band = 0; band < bands; band++) {
    for (let column = 0; column < columns; column++) {
      const loud = (state.arrays.mel[band * columns + column] / 255) ** 1.5;
      const colour = mix(palette.grid, palette.ink, loud * 0.9);
      image.data.set([...colour, 255], ((bands - 1 - band) * columns + column) * 4);
    }
  }
  context.putImageData(image, 0, 0);
  melImage = { key, canvas };
  return canvas;
}

function drawMel(context, strip) {
  const width = state.data.audio.duration_s * state.view.pxPerSecond;
  context.drawImage(melCanvas(), xOf(0), strip.y, width, strip.height);
}

function drawWords(context, strip, words) {
  context.fillStyle = css(palette.grid);
  context.fillRect(xOf(0), strip.y, axisSeconds() * state.view.pxPerSecond, strip.height);
  for (const [text, start, end] of words) {
    const x = xOf(start), width = Math.max(2, (end - start) * state.view.pxPerSecond);
    if (x > state.view.width || x + width < 0) continue;
    const fill = mix(palette.cell, palette.acc, 0.1);
    context.fillStyle = css(fill);
    context.fillRect(x + 0.5, strip.y + 2, width - 1, strip.height - 4);
    drawLabel(context, { text, x, y: strip.y, width, height: strip.height, fill, colour: palette.ink, bold: false, size: 12.5 });
  }
}

/** Text in a box {text, x, y, width, height, ...}: smaller when it does not fit, then faded at the edge, or left out where it is optional. */
function drawLabel(context, box) {
  const { text, y, height, fill, colour, bold, size } = box;
  const x = Math.max(box.x, 0); // a box that begins left of the window keeps its label in sight
  const width = box.width - (x - box.x);
  if (width < 4) return;
  const pad = Math.min(4, width * 0.1);
  const room = width - 2 * pad;
  context.font = `${bold ? '600 ' : ''}${size}px ${FONT}`;
  if (context.measureText(text).width > room) context.font = `${bold ? '600 ' : ''}${Math.min(size, 10)}px ${FONT}`;
  const tooLong = context.measureText(text).width > room + 1;
  if (tooLong && box.optional) return;
  context.save();
  context.beginPath();
  context.rect(x + 1, y, width - 2, height);
  context.clip();
  context.fillStyle = css(colour);
  if (tooLong) {
    const fade = context.createLinearGradient(x + width - 12, 0, x + width - 1, 0);
    fade.addColorStop(0, css(colour));
    fade.addColorStop(1, css(fill));
    context.fillStyle = fade;
  }
  context.fillText(text, x + pad, y + height / 2 + 0.5);
  context.restore();
}

function visiblePositions() {
  return [positionAt(timeOfX(0)), positionAt(timeOfX(state.view.width))];
}

function drawGrid(context) {
  const [first, last] = visiblePositions();
  const { rowPx } = state.view;
  for (const row of state.shown) {
    const y = yOfRow(row);
    const dimmed = state.focusRow !== null && state.focusRow !== row;
    let run = null;
    const looks = [];
    for (let position = first; position <= last; position++) {
      const look = cellLook(row, position);
      if (dimmed) look.fill = mix(palette.card, look.fill, 0.3);
      const x = xOf(startOf(position)), width = widthOf(position);
      paintCell(context, look, x, y, width, rowPx);
      if (run && run.look.group === look.group) run.width += width;
      else looks.push((run = { look, x, width }));
    }
    for (const { look, x, width } of looks) {
      const colour = look.quiet || dimmed ? mix(palette.mut, palette.ink, 0.15) : inkOn(look.fill);
      drawLabel(context, { text: look.text, x, y, width, height: rowPx, fill: look.fill, colour, bold: look.bold, optional: look.optional, size: rowPx < 22 ? 10.5 : 11.5 });
    }
  }
}

function paintCell(context, look, x, y, width, height) {
  context.fillStyle = css(look.fill);
  context.fillRect(x + 0.6, y + 0.6, width - 1.2, height - 1.2);
  if (!look.pattern) return;
  context.save();
  context.beginPath();
  context.rect(x + 0.6, y + 0.6, width - 1.2, height - 1.2);
  context.clip();
  PATTERNS[look.pattern](context, look, x, y, width, height);
  context.restore();
}

const PATTERNS = {
  hatch(context, look, x, y, width, height) {
    context.strokeStyle = css(palette.card, 0.34);
    context.lineWidth = 1.4;
    context.beginPath();
    for (let d = -height; d < width; d += 6) {
      context.moveTo(x + d, y + height);
      context.lineTo(x + d + height, y);
    }
    context.stroke();
  },
  dots(context, look, x, y, width, height) {
    context.fillStyle = css(palette.faint, 0.4);
    for (let dx = 4; dx < width; dx += 6) context.fillRect(x + dx, y + height - 4, 1.4, 1.4);
  },
  bar(context, look, x, y, width, height) {
    context.fillStyle = css(palette.hit);
    context.fillRect(x, y + height - 3.2, width, 2.6);
  },
};

/** Cursor, hover, selection and play head: redrawn alone while the pointer moves or the clip plays. */
function drawOverlay() {
  const context = find('.cl-over').getContext('2d');
  const { width, height, rowPx, strips } = state.view;
  context.clearRect(0, 0, width, height);
  const shown = shownCell();
  const x = xOf(startOf(shown.position));
  context.fillStyle = css(palette.acc, 0.09);
  if (hasLens()) context.fillRect(x, strips.wave.y, widthOf(shown.position), strips.grid.y - strips.wave.y);
  if (state.hoverTime !== null) line(context, xOf(state.hoverTime), css(palette.mut, 0.7), 1);
  line(context, xOf(state.time), css(palette.warn, player.node ? 1 : 0.6), 1.6, true);
  if (state.hover) outline(context, state.hover, palette.ink, 1.2);
  outline(context, state.selected, palette.acc, state.pinned ? 2.6 : 1.8);
  if (state.pinned) {
    context.fillStyle = css(palette.acc);
    const right = xOf(startOf(state.selected.position + 1)), top = yOfRow(state.selected.row);
    context.beginPath();
    context.moveTo(right - Math.min(10, rowPx / 2), top + 1);
    context.lineTo(right - 1, top + 1);
    context.lineTo(right - 1, top + Math.min(11, rowPx / 2 + 1));
    context.fill();
  }
}

function line(context, x, colour, width, isHead) {
  const { strips, height } = state.view;
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(x, strips.wave.y - 2);
  context.lineTo(x, height);
  context.stroke();
  if (!isHead) return;
  context.beginPath();
  context.moveTo(x - 4.5, strips.wave.y - 6);
  context.lineTo(x + 4.5, strips.wave.y - 6);
  context.lineTo(x, strips.wave.y);
  context.fill();
}

function outline(context, cell, colour, width) {
  if (!state.shown.includes(cell.row)) return;
  const { rowPx } = state.view;
  context.strokeStyle = css(colour);
  context.lineWidth = width;
  context.strokeRect(xOf(startOf(cell.position)) + 1, yOfRow(cell.row) + 1, widthOf(cell.position) - 2, rowPx - 2);
}
