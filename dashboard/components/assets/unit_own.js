// What the view of an interleaved model has of its own: phases of cells, recall beside the layers, how it goes on.
const NAME = 'interleavedLens';
const COLUMN_PX = { least: 7, readable: 14 }; // of a frame of 40 ms; a unit lasts one or more
const KINDS = ['none', 'spoken', 'next', 'unit'];
const MODES = [['phase', 'phase'], ['probability', 'probability'], ['rank', 'rank of the spoken word'], ['share', 'share of text'], ['entropy', 'entropy']];
const PARTIAL = { k: takeK };
const MARKS = {
  spoken: { mark: '●', words: ', word being spoken' },
  next: { mark: '◒', words: ', next word' },
  unit: { mark: '▪', words: ', speech unit' },
  none: { mark: '', words: '' },
};
const TABLE_NOTES = { spoken: ' current word', next: ' next word', unit: ' unit', none: '' };
const TABLE_NUMBER = 'recall, current word';
const PHASES = ['nothing', 'current', 'following'];
const PHASE_NAMES = { current: 'the word being spoken', following: 'the next word', unit: 'no word, units outweigh text', nothing: 'no word, text outweighs units' };

const atK = (entries) => entries[state.data.tops.indexOf(state.k)];
const nextRankAt = (row, position) => state.arrays.next_rank[flat(row, position)];
const shareAt = (row, position) => state.arrays.text_share[flat(row, position)] / 255;
const unitsWin = (row, position) => state.arrays.units_win[flat(row, position)] === 1;
const wordPhase = (row, position) => PHASES[state.arrays.word_phase[state.data.tops.indexOf(state.k) * nLayers() * nPositions() + flat(row, position)]];
/** The phase of a cell as the engine has it: a word first, else what outweighs. */
const phaseOf = (row, position) => {
  const word = wordPhase(row, position);
  return word !== 'nothing' ? word : unitsWin(row, position) ? 'unit' : 'nothing';
};
const WORD_PATHS = [{ rankAt: wordRankAt, name: 'word', text: 'spoken word, of text' }, { rankAt: nextRankAt, name: 'next', text: 'next word, of text' }];
const nextWord = (position) => {
  const last = lens().spoken[position].at(-1);
  return last === undefined || last + 1 >= lens().words.length ? '' : lens().words[last + 1][0];
};
const onFocus = () => {};
const ownOfCell = (row, position) => ({ phase: phaseOf(row, position), text_share: shareAt(row, position) });

/** Relation of a token that is shown to the words here. */
function kindOf(row, position, k) {
  const token = tokenAt(row, position, k);
  if (/^<Un\d+>$/.test(state.vocabulary[token])) return 'unit';
  const text = state.tokens.bare[token];
  if (!text) return 'none';
  if (spokenWords(position).some((word) => bare(word) === text)) return 'spoken';
  return bare(nextWord(position)) === text ? 'next' : 'none';
}

LOOKS.phase = (look, row, position) => {
  const phase = phaseOf(row, position);
  const word = { current: spokenWords(position).join(' '), following: nextWord(position) }[phase];
  look.groupKind = phase + (word || '') + unitsWin(row, position);
  look.optional = true; // a cell may be a few pixels wide; what it holds stands beside the grid
  if (word) {
    look.text = word;
    look.bold = true;
    look.group = row;
    look.fill = mix(palette.card, phase === 'current' ? palette.hit : palette.next, 0.72);
    look.pattern = unitsWin(row, position) ? 'hatch' : null;
  } else {
    look.quiet = true;
    look.fill = phase === 'unit' ? mix(palette.card, palette.acc, 0.03 + 0.15 * (1 - shareAt(row, position))) : mix(palette.card, palette.cell, 0.8);
    if (phase === 'nothing') look.pattern = 'dots';
  }
};
LOOKS.share = (look, row, position) => {
  const share = shareAt(row, position);
  look.fill = mix(palette.card, palette.seq, 0.04 + share * 0.86);
  look.text = share.toFixed(2).replace(/^0/, '');
  look.group = row + ':' + position;
  look.optional = true;
  look.quiet = share < 0.2;
};
LEGENDS.phase = () => [
  ...['current', 'following', 'unit', 'nothing'].map((phase) => swatch('cl-sw-' + phase, PHASE_NAMES[phase], countCells((row, position) => phaseOf(row, position) === phase))),
  swatch('cl-sw-hatch', 'striped: there units outweigh text'),
];
LEGENDS.share = () => [el('span', 'cl-key', 'share of the probability on text 0', el('i', 'cl-ramp'), '1')];

function wordLanes() {
  return lens().words.length ? [{ name: 'said', label: 'words', words: lens().words }] : [];
}

const recallOf = (d) => atK(state.data.recalls)[d];
const leftSeries = () => [
  { values: recallOf('current').control, name: 'control' },
  { values: recallOf('next').control, name: 'next-control' },
  { values: lens().mean_text_share, name: 'share' },
  { values: recallOf('next').score, name: 'next', dots: true },
  { values: recallOf('current').score, name: 'precision', dots: true },
];

function layerWords(row) {
  const [current, next] = [recallOf('current'), recallOf('next')];
  const part = (name, one) => `${name} ${fixed(one.score[row], 2)}, control ${fixed(one.control[row], 2)}`;
  return {
    number: current.score[row] === null ? '–' : current.score[row].toFixed(2),
    title: `Layer ${lens().layers[row]}: ${part('current word', current)}; ${part('next word', next)}; text share ${fixed(lens().mean_text_share[row], 2)}`,
  };
}

const captionParts = () => [
  'logit lens at merged speech units, drawn at their length',
  `a word counts where it is among the top ${state.k} text tokens`,
];
const tableCaption = () => 'Top token and its probability at each layer (rows) and speech unit (columns, by their start)';

function curveKeys() {
  const of = (name) => el('i', 'cl-solid cl-key-line-' + name);
  return [
    el('span', 'cl-key', of('precision'), `current word among the top ${state.k}, share of ${recallOf('current').n_words} words`),
    el('span', 'cl-key', of('next'), `next word, share of ${recallOf('next').n_words} that are asked for`),
    el('span', 'cl-key', of('share'), 'probability on text, of that on text and units'),
    el('span', 'cl-key', el('i', 'cl-dashed'), `the same for words of ${state.data.n_controls} other clips`),
  ];
}

function cellFacts({ row, position }) {
  const fact = (name, text) => el('p', 'cl-small cl-fact', el('span', '', name), el('span', '', text));
  const rank = (name, word, value) => (value ? [fact(name + (word ? ' “' + word + '”' : ''), 'rank ' + compact(value))] : []);
  return [
    fact('phase, k = ' + state.k, { current: 'current word', following: 'next word', unit: 'unit', nothing: 'nothing' }[phaseOf(row, position)]),
    fact('unit heard', 'u' + lens().units[position]),
    fact('share of text', fixed(shareAt(row, position), 2)),
    fact('entropy', fixed(entropyAt(row, position), 2) + ' nats'),
    ...rank('current', spokenWords(position).join(' '), wordRankAt(row, position)),
    ...rank('next', nextWord(position), nextRankAt(row, position)),
  ];
}

/** The first cell to show: the best-ranked spoken word in the layer with the best recall of the current word. */
function firstCell() {
  const { score } = recallOf('current');
  const row = state.shown.reduce((best, one) => ((score[one] || 0) > (score[best] || 0) ? one : best), state.shown[0]);
  const ranks = Array.from({ length: nPositions() }, (_, one) => wordRankAt(row, one) || Infinity);
  return { row, position: Math.max(0, ranks.indexOf(Math.min(...ranks))) };
}

function takeK(value) {
  state.k = value.k;
  if (!state.data) return;
  drawAll();
  say(`A word counts among the top ${state.k} text tokens.`);
}

function drawAround() {
  const { audio, source, seconds: took, phases, model } = state.data;
  const label = el('span', 'cl-source', `${source} · ${took.toFixed(1)} s`);
  find('.cl-verdict').replaceChildren(el('span', 'cl-sentence', atK(phases)), label);
  const facts = [el('span', 'cl-name', audio.name), el('span', '', `${audio.duration_s.toFixed(2)} s`), el('span', '', `${nPositions()} units`)];
  for (const change of audio.changes) facts.push(el('span', '', change));
  facts.push(el('span', '', 'words: ' + lens().words_from), el('span', '', 'model: ' + model));
  for (const warning of audio.warnings) facts.push(el('span', 'cl-warning', '⚠ ' + warning));
  find('.cl-facts').replaceChildren(...facts);
  find('.cl-lanes').replaceChildren(...continuationCards(state.data.continuation));
}

/** Both ways in which the model goes on, and what was really said. */
function continuationCards(it) {
  const heard = `after ${it.after_s.toFixed(2)} s`;
  const card = (title, from, ...parts) => el('article', 'cl-card cl-lane', el('div', 'cl-who', el('span', '', el('b', '', title)), el('span', 'cl-number', heard)), el('p', 'cl-from', from), ...parts);
  const said = (text, none) => (text ? el('p', 'cl-heard', text) : el('p', 'cl-why', none));
  const speech = [];
  if (it.sound_url) speech.push(withAttributes(el('audio', 'cl-sound'), { controls: '', preload: 'none', src: it.sound_url, 'aria-label': 'How the model goes on in speech' }));
  else speech.push(el('p', 'cl-why', it.no_sound));
  if (it.heard !== null) speech.push(el('p', 'cl-small', 'mini-Whisper hears: ', el('b', '', it.heard || 'nothing')));
  if (it.units.length) speech.push(el('p', 'cl-small cl-unit-row', it.units.map((unit) => 'u' + unit).join(' ')));
  return [
    withAttributes(card('Goes on in text', `greedy, ${it.text_end}`, said(it.text, 'It writes nothing.')), { 'data-way': 'text' }),
    withAttributes(card('Goes on in speech', `greedy, ${it.units.length} units, ${it.speech_end}`, ...speech), { 'data-way': 'speech' }),
    withAttributes(card('Really said next', 'for comparison', said(it.said_next, 'Nothing, or it is not known.')), { 'data-way': 'said' }),
  ];
}
