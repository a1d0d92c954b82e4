// Sound: the clip is fetched and decoded at the first press, slices are exact to the sample.
const player = { context: null, buffer: null, url: null, node: null, from: 0, to: 0, started: 0 };

async function loadSound() {
  const url = state.data.audio.url;
  if (player.buffer && player.url === url) return player.buffer;
  player.context = player.context || new AudioContext();
  const answer = await fetch(url);
  if (!answer.ok) throw new Error('HTTP ' + answer.status);
  player.buffer = await player.context.decodeAudioData(await answer.arrayBuffer());
  player.url = url;
  return player.buffer;
}

/** Play from one second to another; a press while playing stops. */
async function play(from, to) {
  stopSound();
  if (!state.data.audio.url) return;
  let buffer;
  try {
    buffer = await loadSound();
    await player.context.resume();
  } catch (error) {
    say('The sound could not be loaded; run the clip again.');
    return;
  }
  stopSound();
  const end = Math.min(to, buffer.duration);
  const begin = Math.max(0, Math.min(from, end));
  const node = player.context.createBufferSource();
  node.buffer = buffer;
  node.connect(player.context.destination);
  node.start(0, begin, Math.max(0.01, end - begin));
  Object.assign(player, { node, from: begin, to: end, started: player.context.currentTime });
  showPlaying();
  requestAnimationFrame(followSound);
}

function followSound() {
  if (!player.node) return;
  const now = player.from + player.context.currentTime - player.started;
  setTime(Math.min(now, player.to));
  keepInView(xOf(state.time));
  if (now >= player.to) stopSound();
  else requestAnimationFrame(followSound);
}

function stopSound() {
  if (player.node) {
    try { player.node.stop(); } catch (error) { /* it had already ended by itself */ }
    player.node.disconnect();
    player.node = null;
  }
  showPlaying();
}

function showPlaying() {
  const node = find('.cl-play');
  node.textContent = player.node ? '■ Stop' : '▶ Play';
  node.disabled = !(state.data && state.data.audio.url);
  node.title = node.disabled ? 'no sound is attached to this result' : '';
}

function togglePlay() {
  if (player.node) return stopSound();
  const duration = state.data.audio.duration_s;
  play(state.time >= duration - 0.05 ? 0 : state.time, duration);
}

const playUnderCursor = () => play(state.time - SLICE_S / 2, state.time + SLICE_S / 2);

function playCell() {
  const { position } = shownCell();
  play(startOf(position), startOf(position + 1));
}

function setTime(time) {
  state.time = Math.max(0, Math.min(axisSeconds(), time));
  find('.cl-clock').textContent = `${state.time.toFixed(2)} / ${state.data.audio.duration_s.toFixed(2)} s`;
  if (state.view) drawOverlay();
}
