// Reports a point that is pressed in the section's chart.
// gr.Plot has no event for a point: Plotly's own is taken, anew whenever its chart is made anew.
function bindChart() {
  const chart = element.closest('.card').querySelector('.js-plotly-plot');
  if (!chart || !chart.on || chart.cascadeLensBound) return;
  chart.cascadeLensBound = true;
  chart.on('plotly_click', ({ points }) => {
    const key = points.map((point) => point.customdata).find((value) => typeof value === 'string');
    if (key) trigger('select', { do: 'point', value: key });
  });
}
new MutationObserver(bindChart).observe(element.closest('.card'), { childList: true, subtree: true });
bindChart();
