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

const fixed = (value, digits) => (value === null || value === undefined ? 'not measured' : value.toFixed(digits).replace('-', '−'));
const signed = (value, digits) => (value === null || value === undefined ? 'not measured' : (value > 0 ? '+' : '') + fixed(value + 0, digits));
const seconds = (value) => (value === null ? '' : value.toFixed(2) + ' s');
const percent = (share) => (share === null ? 'not measured' : (share * 100).toFixed(share < 0.1 ? 1 : 0) + ' %');
