// State of one clip view, and the way from the server's value to typed arrays.
const ROOT = element.querySelector('.cl-root');
const MAX_COLUMN_PX = 160;
const SLICE_S = 0.3; // what the space bar plays, centred on the cursor

const state = {
  data: null, // the last "ready" value
  arrays: null, // its decoded arrays
  vocabulary: [], // token texts
  tokens: null, // what clip_tokens.js derives from the texts
  shown: [], // indices into data.lens.layers, lowest first
  subset: 'preset',
  mode: null, // a key of LOOKS
  k: null, // top tokens among which a word counts, where the view has a choice
  columnPx: null, // chosen width of a column, null = by itself
  selected: { row: 0, position: 0 }, // row is an index into data.lens.layers
  pinned: false,
  follow: null, // vocabulary index of the followed token, null = top token of the cell
  hover: null, // {row, position} or null
  hoverTime: null, // seconds under the pointer
  focusRow: null, // highlighted layer
  time: 0, // cursor and play head, seconds
  view: null, // geometry, made by clip_layout.js
  implicit: new Map(), // layer -> what the LLM answered from its text
  asked: null, // layer of the answer on screen
  asking: null, // layer that is being asked for
  turn: 0, // number of the run on screen: answers that were asked about another are dropped
  load: 0, // counts values, so that a slow decode cannot overwrite a newer one
};

// Stands in where the states stay with a service: sound and words are on the clock, and there is no grid.
const NO_LENS = { layers: [], preset_layers: [], precision: [], control: [], degenerate_layers: [], words: [], words_from: '', spoken: [], n_positions: 0, seconds_per_position: 0.16, top_k: 0, fine: true };

const find = (selector) => ROOT.querySelector(selector);

/** Undo packing.py: base64, inflate, join the byte planes. Returns {arrays, vocabulary}. */
async function unpack(value) {
  const packed = Uint8Array.from(atob(value.blob), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const arrays = {};
  for (const [name, entry] of Object.entries(value.arrays)) arrays[name] = readArray(bytes, entry);
  const { offset, length } = value.vocabulary;
  const text = new TextDecoder().decode(bytes.subarray(offset, offset + length));
  return { arrays, vocabulary: JSON.parse(text) };
}

function readArray(bytes, entry) {
  const size = entry.shape.reduce((a, b) => a * b, 1);
  if (entry.dtype === 'int8') return new Int8Array(bytes.slice(entry.offset, entry.offset + size).buffer);
  const width = { uint8: 1, uint16: 2, uint32: 4 }[entry.dtype];
  const out = new { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[width](size);
  for (let plane = 0; plane < width; plane++) {
    const start = entry.offset + plane * size;
    for (let i = 0; i < size; i++) out[i] += bytes[start + i] * 2 ** (8 * plane);
  }
  return out;
}

const hasLens = () => Boolean(state.data && state.data.lens);
const lens = () => state.data.lens || NO_LENS;
const nLayers = () => lens().layers.length;
const nPositions = () => lens().n_positions;
const layerName = (row) => 'L' + lens().layers[row];
/** Start of a position; merged units end where the payload says, other positions are all of one width. */
const startOf = (position) => (lens().ends_s ? (position > 0 ? lens().ends_s[position - 1] : 0) : position * lens().seconds_per_position);
const middleOf = (position) => (startOf(position) + startOf(position + 1)) / 2;
const flat = (row, position) => row * nPositions() + position;

/** Token k of a cell as its index into the vocabulary. */
const tokenAt = (row, position, k) => state.arrays.tokens[flat(row, position) * lens().top_k + k];

/** Its probability, decoded from the scale that the payload states. */
function probabilityAt(row, position, k) {
  const code = state.arrays.probabilities[flat(row, position) * lens().top_k + k];
  return lens().fine ? code / 65535 : (code / 255) ** 2;
}

function entropyAt(row, position) {
  return (state.arrays.entropy[flat(row, position)] / (lens().fine ? 65535 : 255)) * lens().entropy_top;
}

/** Best rank of a word spoken here, 0 where nothing is spoken. */
const wordRankAt = (row, position) => state.arrays.word_rank[flat(row, position)];

const spokenWords = (position) => lens().spoken[position].map((i) => lens().words[i][0]);

function positionAt(time) {
  const ends = lens().ends_s;
  const found = ends ? ends.findIndex((end) => time < end - 1e-9) : Math.floor(time / lens().seconds_per_position + 1e-9);
  const position = found < 0 ? nPositions() - 1 : found;
  return Math.max(0, Math.min(nPositions() - 1, position));
}

/** Length of the time axis: the clip, or the last position where it reaches past the clip's end. */
const axisSeconds = () => Math.max(state.data.audio.duration_s, startOf(nPositions()));
