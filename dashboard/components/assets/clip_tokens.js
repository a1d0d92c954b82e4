// What a token is: readable form, bare form for comparing, its relation to the words spoken.
const KINDS = ['none', 'spoken', 'elsewhere', 'fragment'];

const bare = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}']+/gu, '');

function readable(text) {
  if (text === '') return '∅';
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
