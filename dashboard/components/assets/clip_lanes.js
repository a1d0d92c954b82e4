// Verdict, facts of the run, and the three lanes.
const ROLE_NAMES = { speech_llm: 'Speech LLM', cascade: 'Cascade', text_oracle: 'Text oracle' };
const VERDICT_TONES = {
  'both right': 'good', 'same answer': 'plain', 'only the speech LLM right': 'mixed', 'only the cascade right': 'mixed',
  'different answers': 'mixed', 'both wrong, same answer': 'bad', 'both wrong, different answers': 'bad', 'not comparable': 'quiet',
};

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const HEARING_TONES = { 'heard alike': 'good', 'heard otherwise': 'mixed', 'longer than trained on': 'mixed', comparing: 'quiet' };

/** Whether what was heard can be relied on: above the answers, which are worth no more than it. */
function drawHearing() {
  const { verdict } = state.data;
  find('.cl-hearing').hidden = !verdict;
  const tone = verdict && (HEARING_TONES[verdict.kind] || 'bad');
  ROOT.classList.toggle('cl-in-doubt', tone === 'bad');
  if (!verdict) return;
  const chip = el('span', 'cl-chip cl-tone-' + tone, capital(verdict.kind));
  find('.cl-hearing').replaceChildren(chip, el('span', 'cl-sentence', verdict.sentence));
}

/** The rest of a verdict, of the run on screen: nothing else of the view changes, whatever was chosen in it meanwhile. */
function takeJudged(value) {
  if (!state.data || value.run !== state.data.run) return;
  Object.assign(state.data, { verdict: value.verdict, warnings: value.warnings, speech: value.speech });
  drawHearing();
  drawFacts();
}

/** How often the speech LLM mishears people, by corpus; nothing where it was not measured. */
function humanRates() {
  const { human } = state.data;
  if (!human) return null;
  if (human.problem) return el('p', 'cl-small cl-warning', human.problem);
  const range = human.rows.map((row) => row[1]);
  const mean = human.mean ? `${fixed(human.mean[1], 2)} on average` : `${fixed(Math.min(...range), 2)} to ${fixed(Math.max(...range), 2)}`;
  const fold = el('details', 'cl-human', el('summary', 'cl-small', `Word error rate on people’s recordings: ${mean}, ${human.rows.length} corpora`));
  const table = el('table', '', el('thead', '', el('tr', '', ...['Corpus', 'Word errors', '95 %', 'Clips', 'Speakers'].map((name) => withAttributes(el('th', '', name), { scope: 'col' })))));
  const line = ([corpus, value, low, high, clips, speakers]) => el('tr', '', el('td', '', corpus.replaceAll('_', ' ')), el('td', 'cl-number', fixed(value, 2)), el('td', 'cl-number', low === null || high === null ? '–' : `${fixed(low, 2)} to ${fixed(high, 2)}`), el('td', 'cl-number', String(clips)), el('td', 'cl-number', String(speakers)));
  table.append(el('tbody', '', ...human.rows.map(line)));
  fold.append(table);
  return fold;
}

function drawVerdict() {
  const { agreement, source, seconds: took, comparison } = state.data;
  const chip = el('span', 'cl-chip cl-tone-' + (VERDICT_TONES[agreement.kind] || 'quiet'), capital(agreement.kind));
  const label = el('span', 'cl-source', source + (took === null ? '' : ` · ${took.toFixed(1)} s`));
  const before = comparison && el('span', 'cl-small', `${comparison.title}: ${comparison.agreement}`);
  find('.cl-verdict').replaceChildren(...[chip, el('span', 'cl-sentence', agreement.sentence), before, label].filter(Boolean));
}

function drawFacts() {
  const { audio, noise, match, seed, benchmark, warnings, speech, not_measured: away } = state.data;
  const facts = [el('span', 'cl-name', audio.name), el('span', '', `${audio.duration_s.toFixed(2)} s`)];
  for (const told of [...audio.changes, speech]) if (told) facts.push(el('span', '', told));
  if (noise) {
    const reached = noise.achieved_db === null ? '' : `, ${fixed(noise.achieved_db, 1)} dB reached`;
    const asked = noise.asked_db === null ? '' : ` ${fixed(noise.asked_db, 0)} dB asked`;
    facts.push(el('span', '', `${noise.kind} noise:${asked}${reached}, seed ${seed}`));
  }
  if (away.match) facts.push(withAttributes(el('span', '', 'match: not known, a service answers'), { title: away.match }));
  else facts.push(el('span', '', match === 'exact' ? 'match: exact, same backbone weights' : `match: ${match}`));
  for (const warning of warnings) facts.push(el('span', 'cl-warning', '⚠ ' + warning));
  if (benchmark) facts.push(el('span', 'cl-benchmark', benchmark));
  find('.cl-facts').replaceChildren(...facts);
}

function drawLanes() {
  const cards = ['speech_llm', 'cascade', 'text_oracle'].map((role) => {
    const lane = state.data.lanes.find((one) => one.role === role);
    return lane ? laneCard(lane) : missingLane(role);
  });
  cards.splice(2, 0, implicitCard());
  find('.cl-lanes').replaceChildren(...cards);
}

function missingLane(role) {
  const why = role === 'text_oracle' ? 'Give the true transcript to see it: the same backbone reads what was really said.' : 'This pair has no such system.';
  const head = el('div', 'cl-who', el('span', '', el('b', '', ROLE_NAMES[role])));
  return el('article', 'cl-card cl-lane cl-quiet', head, el('p', 'cl-why', why));
}

function laneCard(lane) {
  const time = withAttributes(el('span', 'cl-number', seconds(lane.seconds)), { title: lane.encoder_seconds === null ? '' : `${lane.encoder_seconds.toFixed(2)} s before the backbone` });
  const name = withAttributes(el('span', 'cl-lane-name', lane.name), { title: lane.revision ? 'revision ' + lane.revision : '' });
  const head = el('div', 'cl-who', el('span', '', el('b', '', ROLE_NAMES[lane.role]), ' ', name), time);
  const from = lane.is_hidden ? null : el('p', 'cl-from', lane.heard_from, lane.against ? el('span', 'cl-against', ` · against ${lane.against}`) : null);
  const card = el('article', 'cl-card cl-lane', head, from, lane.is_hidden ? hiddenText(lane) : heardText(lane), ...answerLines(lane), ...choices(lane.answer), lane.role === 'speech_llm' ? humanRates() : null);
  return withAttributes(card, { 'data-role': lane.role });
}

const hiddenText = (lane) => el('p', 'cl-heard cl-why', `What it heard is ${lane.heard_from}.`);

/** The bars of the allowed labels; of a service, why there are none where they would be. */
function choices(answer) {
  if (answer.forced_choice === null) return state.data.has_labels ? [el('p', 'cl-choices cl-no-bars', answer.service.why)] : [];
  return answer.forced_choice.length ? [choiceBars(answer)] : [];
}

/** What is told beside an answer: a service's refusal or a cut at the token limit, and which model a service ran. */
function noteLines({ note, service }) {
  const told = note ? el('p', 'cl-small cl-warning cl-note', note) : null;
  if (!service) return [told];
  const model = service.model_version ? `answered by ${service.model_version}` : 'the service does not say which model answered';
  return [told, el('p', 'cl-small cl-model', model)];
}

/** Heard text: words it lacks in a dashed box, words nobody said underlined with a wave. */
function heardText(lane) {
  const text = el('p', 'cl-heard');
  if (!lane.heard && !lane.parts.length) text.append(el('span', 'cl-why', 'nothing'));
  for (const part of lane.parts) {
    const node = part.kind === 'same' ? el('span', '', part.text) : el(part.kind === 'missing' ? 'del' : 'ins', 'cl-' + part.kind, part.text);
    if (part.kind !== 'same') node.title = part.kind === 'missing' ? 'said, not heard' : 'heard, not said';
    text.append(node, ' ');
  }
  return text;
}

/** The answer in a few words: the label, or why there is none. */
function answerWords(answer) {
  if (answer.status === 'parsed' && answer.label !== null) return answer.label;
  if (answer.status === 'empty') return 'empty: said nothing';
  return answer.text.trim() ? `${answer.status}: said “${answer.text.trim()}”` : answer.status;
}

function answerLines(lane) {
  const { answer, right } = lane;
  const line = el('p', 'cl-answer' + (answer.status === 'parsed' ? '' : ' cl-unparsed'), answerWords(answer));
  if (right !== null) line.append(el('span', right ? 'cl-right' : 'cl-wrong', right ? '✓ right' : '✗ wrong'));
  const lines = [line];
  const said = answer.text.trim();
  if (answer.status === 'parsed' && said && said.toLowerCase() !== answer.label.toLowerCase()) lines.push(el('p', 'cl-small cl-said', `said “${said}”`));
  lines.push(...noteLines(answer).filter(Boolean));
  const before = state.data.comparison && state.data.comparison.lanes[lane.role];
  if (before) {
    const same = answerWords(before) === answerWords(answer);
    lines.push(el('p', 'cl-small', `${state.data.comparison.title}: ${answerWords(before)} `, el('b', same ? '' : 'cl-changed', same ? 'same' : 'changed')));
  }
  return lines;
}

function choiceBars(answer) {
  const list = withAttributes(el('dl', 'cl-choices'), { 'aria-label': 'Probability of each allowed label' });
  for (const [label, probability] of [...answer.forced_choice].sort((a, b) => (b[1] || 0) - (a[1] || 0))) {
    const chosen = answer.label !== null && label.toLowerCase() === answer.label.toLowerCase();
    list.append(el('div', chosen ? 'cl-chosen' : '', el('dt', '', label), el('dd', '', bar(probability || 0), el('span', 'cl-number', fixed(probability, 2)))));
  }
  return list;
}
