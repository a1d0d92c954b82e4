// What a token is: readable form, bare form for comparing, its relation to the words spoken.
const bare = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}']+/gu, '');

function readable(text) {
  if (text === '') return '∅';
  const unit = text.match(/^<Un(\d+)>$/);
  if (unit) return 'u' + unit[1];
  const special = text.trim().match(/^<[|]?([^<>|]*)[|]?>$/);
  if (special) return '⟨' + special[1] + '⟩';
  if (text.trim() === '') return /\n/.test(text) ? '⏎' : '␣';
  return text.trim().replace(/\s+/g, ' ');
}

/** "word" (or the start of one), "fragment" (goes on inside a word) or "non-word". */
function classOf(text, spaced) {
  const trimmed = text.trim();
  if (!/^[\p{L}][\p{L}\p{M}'’-]*$/u.test(trimmed)) return 'non-word';
  return spaced && !/^\s/.test(text) ? 'fragment' : 'word';
}

function studyTokens() {
  const texts = state.vocabulary;
  const spaced = texts.some((text) => /^\s\p{L}/u.test(text));
  const words = lens().words.map((word) => bare(word[0]));
  state.tokens = {
    spaced,
    labels: texts.map(readable),
    bare: texts.map(bare),
    classes: texts.map((text) => classOf(text, spaced)),
    words,
    transcript: new Set(words.filter(Boolean)),
  };
  const size = nLayers() * nPositions();
  const kinds = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    kinds[i] = KINDS.indexOf(kindOf(Math.floor(i / nPositions()), i % nPositions(), 0));
  }
  state.tokens.topKinds = kinds;
}

const topKind = (row, position) => KINDS[state.tokens.topKinds[flat(row, position)]];
const labelAt = (row, position, k) => state.tokens.labels[tokenAt(row, position, k)];

/** One layer read as text: its top tokens, repeats joined, non-words left out. */
function layerText(row) {
  const out = [];
  let last = null;
  for (let position = 0; position < nPositions(); position++) {
    const token = tokenAt(row, position, 0);
    if (token === last) continue;
    last = token;
    const glued = state.tokens.classes[token] === 'fragment' && out.length;
    if (state.tokens.classes[token] === 'non-word') continue;
    if (glued) out[out.length - 1] += state.tokens.labels[token];
    else out.push(state.tokens.labels[token]);
  }
  return out.join(' ');
}
