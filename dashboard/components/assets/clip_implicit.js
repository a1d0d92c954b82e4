// The implicit cascade: one layer's lens text, given to the cascade's LLM. It is asked only when someone asks.

/** The layer chosen on the layer strip, the last one where none is. */
const chosenLayer = () => lens().layers[state.focusRow === null ? nLayers() - 1 : state.focusRow];

function drawImplicit() {
  const old = find('.cl-implicit');
  const hadFocus = old.contains(document.activeElement);
  const card = implicitCard();
  old.replaceWith(card);
  if (hadFocus) (card.querySelector('.cl-btn') || card).focus();
}

function implicitCard() {
  if (!hasLens()) return implicitOff();
  const layer = chosenLayer();
  if (state.implicit.has(layer)) state.asked = layer;
  const shown = state.implicit.get(state.asked);
  const name = el('span', 'cl-lane-name', 'lens text → the cascade’s LLM');
  const time = shown && el('span', 'cl-number', seconds(shown.seconds));
  const head = el('div', 'cl-who', el('span', '', el('b', '', 'Implicit cascade'), ' ', name), time);
  const card = withAttributes(el('article', 'cl-card cl-implicit', head), { 'data-role': 'implicit', 'aria-label': 'Implicit cascade', tabindex: '-1' });
  if (shown) card.append(...implicitAnswer(shown));
  else card.append(el('p', 'cl-why', 'Would the LLM answer alike from what a layer’s lens reads? Choose a layer at the left of the grid; the text stands below it.'));
  if (state.asked !== layer) card.append(askButton(layer));
  if (shown) card.append(...choices(shown.answer));
  if (shown && shown.kappa) card.append(el('p', 'cl-small cl-kappa', shown.kappa));
  return card;
}

function implicitOff() {
  const head = el('div', 'cl-who', el('span', '', el('b', '', 'Implicit cascade'), ' ', el('span', 'cl-lane-name', 'lens text → the cascade’s LLM')));
  const why = el('p', 'cl-why', el('b', '', 'Off. '), state.data.not_measured.lens);
  return withAttributes(el('article', 'cl-card cl-implicit cl-quiet', head, why), { 'data-role': 'implicit', 'aria-label': 'Implicit cascade' });
}

function implicitAnswer(shown) {
  const from = el('p', 'cl-from', `lens text of layer ${shown.layer}`, el('span', 'cl-against', ' · against the cascade’s text'));
  const cascade = state.data.lanes.find((lane) => lane.role === 'cascade');
  const same = cascade && sameAnswer(shown.answer, cascade.answer);
  const lines = answerLines({ ...shown, role: 'implicit' });
  if (cascade) lines.push(el('p', 'cl-small ' + (same ? 'cl-same' : 'cl-changed'), same ? '= as the cascade' : '≠ not as the cascade'));
  return [from, heardText(shown), ...lines];
}

function askButton(layer) {
  const asking = state.asking !== null;
  const text = asking ? `Asking with layer ${state.asking}’s text …` : `Ask the LLM with layer ${layer}’s text`;
  const node = button('cl-btn', text, () => {
    if (state.asking !== null) return;
    state.asking = layer;
    trigger('select', { layer, turn: state.turn });
    drawImplicit();
  });
  return withAttributes(node, { 'aria-disabled': String(asking) });
}

/** An answer, or why there is none; what belongs to another run than the one on screen is dropped. */
function takeImplicit(value) {
  if (!state.data || value.turn !== state.turn) return;
  state.asking = null;
  if (!value.error) {
    state.implicit.set(value.layer, value);
    state.asked = value.layer;
  }
  drawImplicit();
  say(value.error || `Implicit cascade, layer ${value.layer}: ${answerWords(value.answer)}`);
}
