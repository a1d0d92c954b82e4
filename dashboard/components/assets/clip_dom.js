// Small makers of elements. Text goes through textContent only: transcripts and names are untrusted.

/** el('p', 'cls', 'text' | node | null, ...) */
function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function withAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function svg(tag, attributes, text) {
  const node = withAttributes(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes);
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(className, text, onClick, label) {
  const node = withAttributes(el('button', className, text), { type: 'button' });
  if (label) node.setAttribute('aria-label', label);
  node.addEventListener('click', onClick);
  return node;
}

/** A bar of a share 0..1. */
function bar(share, className) {
  const fill = el('i', className || '');
  fill.style.width = Math.max(1, Math.min(100, share * 100)) + '%';
  return withAttributes(el('span', 'cl-bar', fill), { 'aria-hidden': 'true' });
}

/** A number to so many digits; what rounds to zero has no sign. */
function fixed(value, digits) {
  if (value === null || value === undefined) return 'not measured';
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace('-', '') : text.replace('-', '−');
}

/** The same with a plus before what is above zero once rounded. */
const signed = (value, digits) => (value > 0 && Number(value.toFixed(digits)) > 0 ? '+' : '') + fixed(value, digits);
const seconds = (value) => (value === null ? '' : value.toFixed(2) + ' s');
const percent = (share) => (share === null ? 'not measured' : (share * 100).toFixed(share < 0.1 ? 1 : 0) + ' %');
