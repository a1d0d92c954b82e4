// Reports what is pressed or chosen in a part of the page to the server; copies text and saves charts on the spot.
const chosenTogether = ['pair', 'class', 'point'];

function report(target) {
  if (chosenTogether.includes(target.dataset.do)) {
    for (const other of element.querySelectorAll(`[data-do="${target.dataset.do}"]`)) {
      other.setAttribute('aria-pressed', String(other === target));
      if (other.classList.contains('bm-cell')) other.tabIndex = other === target ? 0 : -1;
    }
  }
  trigger('select', { do: target.dataset.do, value: target.dataset.value });
}

function copy(target) {
  const text = element.querySelector(target.dataset.value).textContent;
  const done = () => { target.textContent = 'Copied'; setTimeout(() => { target.textContent = 'Copy'; }, 1500); };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => {});
  else getSelection().selectAllChildren(element.querySelector(target.dataset.value));
}

// gr.Plot hides Plotly's own options; its mode bar reads the format from here when its camera is pressed.
function saveChart(target) {
  const [id, format] = target.dataset.value.split('.');
  const chart = document.querySelector(`#${id} .js-plotly-plot`);
  if (!chart) return;
  chart._context.toImageButtonOptions = { format, filename: id, scale: format === 'png' ? 2 : 1 };
  chart.querySelector('.modebar-btn[data-title^="Download plot"]').click();
}

// Lines of Python that ask the page name the address under which it is seen here, which its server does not know.
function nameAddress() {
  const here = location.origin + location.pathname.replace(/\/$/, '');
  for (const place of element.querySelectorAll('.page-address')) if (place.textContent !== here) place.textContent = here;
}

// A list shows what was chosen in it last; once no choice waits for its turn, what the page's state says.
function showChoices() {
  for (const select of element.querySelectorAll('select')) {
    const said = new URLSearchParams(window.cascadeLensTurns?.[select.dataset.tab]?.query ?? '');
    const listed = [...select.options].map((option) => option.value);
    select.value = [select.chosen, said.get(select.dataset.name)].find((key) => listed.includes(key)) ?? listed[0];
  }
}
addEventListener('cascade-lens-settled', ({ detail }) => {
  for (const select of element.querySelectorAll(`select[data-tab="${detail}"]`)) select.chosen = undefined;
  showChoices();
});
element.addEventListener('change', ({ target }) => {
  if (target.tagName !== 'SELECT') return;
  target.chosen = target.value;
  trigger('select', { do: 'option', value: String(new URLSearchParams({ [target.dataset.name]: target.value })) });
});

// Gradio mends what stands here in place of making it anew: entries of a list become others under a choice.
new MutationObserver(() => { nameAddress(); showChoices(); })
  .observe(element, { childList: true, subtree: true, attributeFilter: ['value'] });
nameAddress();
showChoices();

element.addEventListener('click', (event) => {
  const target = event.target.closest('button[data-do]');
  if (!target || !element.contains(target)) return;
  if (target.dataset.do === 'copy') copy(target);
  else if (target.dataset.do === 'chart') saveChart(target);
  else report(target);
});
