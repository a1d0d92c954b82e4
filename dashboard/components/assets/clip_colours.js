// Colours: read from the CSS variables (so light and dark share one place), mixed here for the canvas.
const FONT = 'system-ui, -apple-system, "Segoe UI", sans-serif';
const RANK_STEPS = [
  { top: 1, share: 0.85, text: 'top token' },
  { top: 10, share: 0.55, text: '2 to 10' },
  { top: 100, share: 0.28, text: '11 to 100' },
  { top: Infinity, share: 0.1, text: 'over 100' },
];
let palette = null;

function readPalette() {
  const style = getComputedStyle(ROOT);
  palette = {};
  for (const name of ['card', 'ink', 'mut', 'faint', 'line', 'cell', 'grid', 'hit', 'next', 'acc', 'warn', 'seq']) {
    palette[name] = parseHex(style.getPropertyValue('--cl-' + name).trim());
  }
}

function parseHex(text) {
  const hex = text.length === 4 ? [...text.slice(1)].map((c) => c + c).join('') : text.slice(1);
  return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

const mix = (from, to, share) => from.map((channel, i) => Math.round(channel + (to[i] - channel) * share));
const css = (rgb, alpha) => (alpha === undefined ? `rgb(${rgb.join()})` : `rgba(${rgb.join()},${alpha})`);

function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Black-ish or white-ish, whichever reads better on the fill. */
function inkOn(rgb) {
  const fill = luminance(rgb);
  return 1.05 / (fill + 0.05) > (fill + 0.05) / 0.06 ? [255, 255, 255] : [20, 22, 24];
}

/** How a cell looks in the chosen mode: fill, pattern (null, "hatch", "dots", "bar"), text, bold, quiet. */
function cellLook(row, position) {
  const probability = probabilityAt(row, position, 0);
  const look = { pattern: null, text: labelAt(row, position, 0), bold: false, quiet: false, group: tokenAt(row, position, 0) };
  LOOKS[state.mode](look, row, position, probability);
  look.group += '|' + (look.groupKind || '');
  return look;
}

const LOOKS = {
  spoken(look, row, position, probability) {
    const kind = topKind(row, position);
    const share = 0.2 + Math.min(1, probability * 1.6) * 0.6;
    look.groupKind = kind;
    look.bold = kind === 'spoken';
    look.quiet = kind === 'none';
    if (kind === 'spoken') look.fill = mix(palette.card, palette.hit, share);
    else if (kind === 'elsewhere') look.fill = mix(palette.card, palette.next, share);
    else look.fill = mix(palette.card, palette.cell, 0.5 + probability * 0.5);
    look.pattern = { elsewhere: 'hatch', fragment: 'bar' }[kind] || null;
  },
  probability(look, row, position, probability) {
    look.fill = mix(palette.card, palette.seq, 0.04 + probability * 0.86);
    look.quiet = probability < 0.2;
  },
  rank(look, row, position) {
    const rank = wordRankAt(row, position);
    look.group = row + ':' + position;
    look.text = rank ? compact(rank) : '';
    look.bold = rank === 1;
    look.fill = rank ? mix(palette.card, palette.hit, RANK_STEPS.find((step) => rank <= step.top).share) : palette.grid;
    if (!rank) look.pattern = 'dots';
  },
  class(look, row, position) {
    const kind = state.tokens.classes[tokenAt(row, position, 0)];
    look.groupKind = kind;
    const colour = { word: palette.acc, fragment: palette.next, 'non-word': palette.faint }[kind];
    look.fill = mix(palette.card, colour, kind === 'word' ? 0.3 : 0.34);
    look.pattern = { fragment: 'hatch', 'non-word': 'dots' }[kind] || null;
  },
  entropy(look, row, position) {
    const share = entropyAt(row, position) / lens().entropy_top;
    look.fill = mix(palette.card, palette.seq, 0.04 + share * 0.8);
    look.group = row + ':' + position;
    look.text = entropyAt(row, position).toFixed(1);
    look.quiet = share < 0.2;
  },
};

/** 1, 34, 2.1k */
function compact(rank) {
  if (rank < 1000) return String(rank);
  return rank < 10000 ? (rank / 1000).toFixed(1) + 'k' : Math.round(rank / 1000) + 'k';
}
