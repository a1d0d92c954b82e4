// The erasure bench: per condition plain, random cut of the same rank, chosen cut, side by side.
const CONDITION_NAMES = { text: 'Text', ctc: 'CTC', boc: 'Bag of characters', acoustic: 'Acoustic' };

function drawBench() {
  const bench = find('.cl-bench');
  const rows = state.data.erasures;
  const head = el('div', 'cl-head', el('h2', '', 'Erasure bench'));
  const away = state.data.not_measured.erasure;
  if (away) return bench.replaceChildren(withAttributes(el('div', 'cl-card cl-quiet', head, el('p', 'cl-why cl-wide', el('b', '', 'Off. '), away)), { 'data-off': 'erasure' }));
  if (!rows.length) {
    head.append(el('p', 'cl-caption', 'No erasure was asked for. Switch one on and run again: the answer without, with, and with a random cut of the same rank will stand here.'));
    bench.replaceChildren(el('div', 'cl-card', head));
    return;
  }
  head.append(el('p', 'cl-caption', 'one concept cut out of the speech LLM’s states; beside it a random cut of the same rank'));
  bench.replaceChildren(el('div', 'cl-card', head, ...rows.map(benchRow)));
}

function benchRow(outcome) {
  const name = CONDITION_NAMES[outcome.condition] || outcome.condition;
  // The share that is cut stands beside the rank wherever it is not the whole.
  const cut = `rank ${outcome.kept_rank}` + (outcome.strength === 1 ? '' : `, strength ${outcome.strength}`);
  const cells = [
    benchCell('As it is', outcome.plain, outcome, 'plain'),
    benchCell(`Random, ${cut}`, outcome.random_control, outcome, 'random'),
    benchCell(`${name}, ${cut}`, outcome.erased, outcome, 'erased'),
  ];
  return withAttributes(
    el('div', 'cl-bench-row', el('div', 'cl-cells', ...cells), el('p', 'cl-small', benchScope(outcome), outcome.proof)),
    { 'data-condition': outcome.condition, role: 'group', 'aria-label': name + ' erasure' },
  );
}

function benchScope({ layers, scope, method, strength, fitted_on: fittedOn }) {
  const positions = { audio: 'audio positions', prompt: 'all prompt positions', all: 'prompt and generated positions' }[scope] || scope;
  return `Strength ${strength}, ${method}, ${layers.length} layers (${layerRanges(layers)}), ${positions}; erasers fitted on ${fittedOn}. `;
}

/** L0, L3 to L6 */
function layerRanges(layers) {
  const runs = [];
  for (const layer of layers) {
    const last = runs[runs.length - 1];
    if (last && layer === last[1] + 1) last[1] = layer;
    else runs.push([layer, layer]);
  }
  return runs.map(([from, to]) => (from === to ? 'L' + from : `L${from} to L${to}`)).join(', ');
}

const sameAnswer = (one, other) => answerWords(one).toLowerCase().trim() === answerWords(other).toLowerCase().trim();

function benchCell(title, arm, outcome, kind) {
  const cell = withAttributes(el('div', 'cl-cell cl-cell-' + kind, el('h3', '', title)), { 'data-arm': kind });
  const answer = el('p', 'cl-answer' + (arm.answer.status === 'parsed' ? '' : ' cl-unparsed'), answerWords(arm.answer));
  if (kind !== 'plain') {
    const same = sameAnswer(arm.answer, outcome.plain.answer);
    answer.append(el('span', same ? 'cl-same' : 'cl-changed', same ? '= same' : '≠ changed'));
  }
  cell.append(answer, ...noteLines(arm.answer).filter(Boolean));
  const facts = el('dl', 'cl-facts-list');
  const add = (term, value) => facts.append(el('div', '', el('dt', '', term), el('dd', 'cl-number', value)));
  if (kind === 'plain') add('log-likelihood', fixed(arm.answer.log_likelihood, 2));
  else {
    add('log-likelihood change, plain answer', signed(arm.log_likelihood_change, 2));
    add('log-likelihood change, right answer', arm.right_log_likelihood_change === null ? 'not known' : signed(arm.right_log_likelihood_change, 2));
    add('state moved', percent(arm.relative_change_of_state));
  }
  cell.append(facts);
  return cell;
}
