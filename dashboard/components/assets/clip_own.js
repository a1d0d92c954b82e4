// What is the clip page's own: relation of a token to the transcript, precision beside the layers, its words.
const NAME = 'cascadeLens';
const COLUMN_PX = { least: 22, readable: 42 };
const KINDS = ['none', 'spoken', 'elsewhere', 'fragment'];
const MODES = [['spoken', 'spoken word'], ['probability', 'probability'], ['rank', 'rank of the spoken word'], ['class', 'token class'], ['entropy', 'entropy']];
const PARTIAL = { implicit: (value) => takeImplicit(value), judged: (value) => takeJudged(value) };
const MARKS = {
  spoken: { mark: '●', words: ', spoken here' },
  elsewhere: { mark: '◒', words: ', elsewhere in the transcript' },
  fragment: { mark: '◦', words: ', piece of a word spoken here' },
  none: { mark: '', words: '' },
};
const TABLE_NOTES = { spoken: ' spoken here', elsewhere: ' elsewhere', fragment: ' piece', none: '' };
const TABLE_NUMBER = 'precision';
const WORD_PATHS = [{ rankAt: wordRankAt, name: 'word', text: 'spoken word' }];

const ownOfCell = () => ({});
const onFocus = () => drawImplicit();

/**
 * Relation of token k of a cell to the words: "spoken" here, "elsewhere" in the transcript, "fragment" of a
 * word spoken here, "none". The engine's rank decides first: it knows the candidate tokens of each word.
 */
function kindOf(row, position, k) {
  if (wordRankAt(row, position) === k + 1) return 'spoken';
  return kindOfToken(tokenAt(row, position, k), position);
}

function kindOfToken(token, position) {
  const { bare: bares, words, transcript, spaced } = state.tokens;
  const text = bares[token];
  if (!text) return 'none';
  const here = lens().spoken[position].map((i) => words[i]);
  if (here.includes(text)) return 'spoken';
  if (transcript.has(text)) return 'elsewhere';
  const inside = spaced && !/^\s/.test(state.vocabulary[token]);
  const shortest = spaced ? 2 : 3; // without word marks two letters would match by chance
  const isPiece = (word) => (inside ? word.includes(text) : word.startsWith(text));
  return text.length >= shortest && here.some(isPiece) ? 'fragment' : 'none';
}

/** Rows of words on the clock: what the cascade heard, and what was said where that is known. */
function wordLanes() {
  const cascade = state.data.lanes.find((lane) => lane.role === 'cascade');
  const lanes = [];
  if (cascade && cascade.words.length) lanes.push({ name: 'heard', label: 'cascade’s words', words: cascade.words });
  const fromReference = lens().words_from === 'reference';
  const isNew = fromReference || !lanes.length;
  if (isNew && lens().words.length) {
    const label = fromReference ? 'said' : lens().words_from + '’s words';
    lanes.push({ name: 'said', label, words: lens().words });
  }
  return lanes;
}

const leftSeries = () => [
  { values: lens().control, name: 'control' },
  ...(lens().beside.length ? [{ values: lens().beside, name: 'beside' }] : []),
  { values: lens().precision, name: 'precision', dots: true },
];

function layerWords(row) {
  const { precision, control, layers, degenerate_layers: degenerate } = lens();
  const words = `Layer ${layers[row]}: precision ${fixed(precision[row], 2)}, control ${fixed(control[row], 2)}`;
  return {
    number: precision[row] === null ? '–' : precision[row].toFixed(2),
    title: degenerate.includes(layers[row]) ? words + '. One token holds more than half of the columns.' : words,
  };
}

const columnWords = () => (lens().ends_s ? 'a column lasts as long as its token' : `${Math.round(lens().seconds_per_position * 1000)} ms a column`);

function captionParts() {
  const what = isDifference() ? `${lens().name}: tokens by their share in the divergence of the two` : lens().name;
  const parts = [`${what} at audio positions, final norm applied; ${columnWords()}`, `top ${lens().top_k} tokens a cell`];
  if (!lens().fine) parts.push('probabilities to ±0.004');
  return parts;
}

const tableCaption = () => `Top token and its probability at each layer (rows) and audio position (columns; ${columnWords()})`;

function curveKeys() {
  const control = `the same against as many distinct tokens of ${lens().n_control_clips} other clips`;
  const keys = [el('span', 'cl-key', el('i', 'cl-solid'), 'precision: share of top tokens in the transcript, runs merged'), el('span', 'cl-key', el('i', 'cl-dashed'), control)];
  if (lens().beside.length) keys.push(el('span', 'cl-key', el('i', 'cl-dotted'), `precision of ${lens().beside_name}`));
  if (state.data.readout_note) keys.push(el('span', 'cl-key', state.data.readout_note));
  if (lens().degenerate_layers.length) {
    const names = lens().degenerate_layers.map((layer) => 'L' + layer).join(', ');
    keys.push(el('span', 'cl-key cl-warning', `⚠ ${names}: one token holds more than half of the columns; not to be read as content`));
  }
  return keys;
}

function cellFacts({ row, position }) {
  const facts = [el('p', 'cl-small cl-fact', el('span', '', isDifference() ? 'divergence' : 'entropy'), el('span', '', fixed(entropyAt(row, position), 2) + ' nats'))];
  const rank = wordRankAt(row, position);
  if (!rank) return facts;
  const below = row > 0 ? wordRankAt(row - 1, position) : 0;
  const change = !below ? '' : below === rank ? ` as in ${layerName(row - 1)}` : ` ${rank < below ? '▲' : '▼'} ${compact(below)} in ${layerName(row - 1)}`;
  facts.push(el('p', 'cl-small cl-fact', el('span', '', 'rank of the word'), withAttributes(el('span', '', el('b', '', String(rank)), change), { title: 'best rank of a word spoken here, beside the rank one layer below' })));
  return facts;
}

/** The first cell to show: in the layer with the best precision, the first word that is read almost as surely as any. */
function firstCell() {
  const rows = state.shown.length ? state.shown : [0];
  const row = rows.reduce((best, one) => ((lens().precision[one] || 0) > (lens().precision[best] || 0) ? one : best));
  const scores = Array.from({ length: nPositions() }, (_, one) => (topKind(row, one) === 'spoken' ? probabilityAt(row, one, 0) : 0));
  const best = Math.max(...scores);
  return { row, position: Math.max(0, scores.findIndex((score) => score >= best * 0.6)) };
}

const isDifference = () => state.data.readout === 'difference';

/** The ways to read the states; one that is off for this run says why. Another one is read by the server. */
function drawReadout() {
  const { readouts, readout } = state.data;
  find('.cl-readout-tool').hidden = !hasLens() || !readouts.length;
  find('.cl-readout-tool').title = readouts.filter(([, , why]) => why).map(([, name, why]) => `${capital(name)}: ${why}`).join(' ');
  const options = readouts.map(([value, name, why]) => withAttributes(el('option', '', why ? `${name} (off)` : name), { value, title: why, ...(why ? { disabled: '' } : {}) }));
  find('.cl-readout').replaceChildren(...options);
  find('.cl-readout').value = readout;
  for (const option of find('.cl-mode').options) if (option.value === 'entropy') option.textContent = isDifference() ? 'divergence' : 'entropy';
}
find('.cl-readout').addEventListener('change', (event) => trigger('select', { readout: event.target.value }));

function drawAround() {
  drawHearing();
  drawReadout();
  drawVerdict();
  drawFacts();
  drawLanes();
  drawBench();
}
