"""The page: header, tabs, endpoints, and the one way it is launched. `app.py` calls it."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from dashboard.endpoints import add_endpoints
from dashboard.errors import with_plain_errors
from dashboard.preparing import ProfileState, state_of_profile
from dashboard.tabs.benchmark import STYLE as BENCHMARK_STYLE
from dashboard.tabs.benchmark import benchmark_tab, bind_benchmark
from dashboard.tabs.claims import STYLE as CLAIMS_STYLE
from dashboard.tabs.claims import bind_claims, claims_tab
from dashboard.tabs.clip import clip_tab
from dashboard.tabs.clip_handlers import follow_profile
from dashboard.tabs.events import QUICK
from dashboard.tabs.interleaved import STYLE as INTERLEAVED_STYLE
from dashboard.tabs.interleaved import bind_interleaved, interleaved_tab
from dashboard.tabs.mechanism import STYLE as MECHANISM_STYLE
from dashboard.tabs.mechanism import bind_mechanism, mechanism_tab
from dashboard.tabs.truth import STYLE as TRUTH_STYLE
from dashboard.tabs.truth import bind_truth, truth_tab
from dashboard.theme import STYLE, theme
from engine.examples import FOLDER as EXAMPLES_FOLDER

SHIPPED = (
    "Small models trained on synthetic speech ship with this page; they know about 1,600 words. They are not "
    "Ultravox, Whisper or Llama. The clip page measures live, on this machine."
)
MOST_NAMES = 3  # of systems: the header has two lines
# A step back leads to an address, and an address to its view.
# Browsers call .webm, .mp4 and the like films, whatever is in them, and Gradio's box for sound refuses films: what is
# dropped or chosen there goes by a sound's name, and the engine says whether it is one.
# No microphone is offered on plain http to another machine; the page then says so instead of failing.
_HEAD = r"""<script>
if (!navigator.mediaDevices) document.documentElement.classList.add('no-microphone');
addEventListener('popstate', () => location.reload());
const asSound = (files) => {
  const all = new DataTransfer();
  for (const file of files) {
    const isFilm = /^(video\/|application\/ogg|$)/.test(file.type);
    all.items.add(isFilm ? new File([file], file.name, { type: 'audio/webm' }) : file);
  }
  return all.files;
};
const inSoundBox = (event) => event.target instanceof Element && event.target.closest('.clip-audio, #noise-file');
addEventListener('drop', (event) => {
  if (!inSoundBox(event) || !event.dataTransfer) return;
  Object.defineProperty(event, 'dataTransfer', { value: { files: asSound(event.dataTransfer.files) } });
}, true);
addEventListener('change', (event) => {
  if (inSoundBox(event) && event.target.type === 'file') event.target.files = asSound(event.target.files);
}, true);
</script>"""

MOST_WAITING = 20
FOLLOWED_EVERY_S = 2.0  # what is being fetched, while it is
CLEAN_UP_S = (600, 1800)  # every ten minutes, files older than half an hour


def header(state: ProfileState | None) -> str:
    """Return the page's name and what its models are: a profile's systems that are live, or the small ones.

    Args:
        state: how far the page's profile is; None for the models that ship.
    """
    return f'<header id="app-header"><h1>Cascade Lens</h1><p>{escape(_banner(state))}</p></header>'


def _banner(state: ProfileState | None) -> str:
    if state is None:
        return SHIPPED
    if not state.live:
        return (
            f"Profile {state.key}: none of its systems is on this page yet. What you see are the small models that "
            "ship, trained on synthetic speech; they are not Ultravox, Whisper or Llama."
        )
    # What stands in brackets after a name is told with its answers; three of them filled the header.
    named = "; ".join(name.split(" (")[0] for name in state.live[:MOST_NAMES])
    n_more = len(state.live) - MOST_NAMES
    more = f" and {n_more} more" if n_more > 0 else ""
    return (
        f"Profile {state.key}, live: {named}{more}. Systems called mini are the small models that ship, trained on "
        "synthetic speech."
    )


def _opened() -> tuple[Any, ...]:
    """Return the header, and whether the page goes on asking for what is new."""
    state = state_of_profile()
    return header(state), gr.Timer(active=bool(state and state.now))


def _followed(pair: str) -> tuple[Any, ...]:
    """Return header, note and pairs as they are now; the timer ends when nothing more is coming."""
    note, pairs, is_coming = follow_profile(pair)
    return header(state_of_profile()), note, pairs, gr.skip() if is_coming else gr.Timer(active=False)


def build_dashboard() -> gr.Blocks:
    """Return the page with its events and endpoints, queue set, not yet launched."""
    with gr.Blocks(
        title="Cascade Lens", analytics_enabled=False, delete_cache=CLEAN_UP_S, fill_width=True
    ) as page:
        title = gr.HTML(header(None))
        # The profile is taken after this is built, and its systems become ready while the page is open.
        coming = gr.Timer(FOLLOWED_EVERY_S, active=False)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Clip", id="clip") as clip:
                rail = clip_tab(page)
            with gr.Tab("Benchmark", id="benchmark") as benchmark:
                parts = benchmark_tab()
            with gr.Tab("Mechanism", id="mechanism") as mechanism:
                layers = mechanism_tab()
            with gr.Tab("Interleaved", id="interleaved") as interleaved:
                units = interleaved_tab()
            with gr.Tab("Claims", id="claims") as claims:
                ledger = claims_tab()
            with gr.Tab("Truth", id="truth") as truth:
                checks = truth_tab()
        shown = [title, rail.profile_note, rail.pair, coming]
        page.load(with_plain_errors(_opened), None, [title, coming], **QUICK)
        coming.tick(with_plain_errors(_followed), [rail.pair], shown, **QUICK)
        bind_benchmark(page, parts, rail, tabs, benchmark, clip)
        bind_mechanism(page, layers, rail, tabs, mechanism)
        bind_interleaved(page, units, tabs, interleaved)
        bind_truth(page, checks, rail, tabs, truth)
        bind_claims(page, ledger, tabs, claims)
        add_endpoints()
    return page.queue(max_size=MOST_WAITING)


def launch_options() -> dict[str, Any]:
    """Return the keyword arguments of `launch` that never change, whoever starts the page."""
    return {
        "theme": theme(),
        "css_paths": [STYLE, BENCHMARK_STYLE, MECHANISM_STYLE, INTERLEAVED_STYLE, CLAIMS_STYLE, TRUTH_STYLE],
        "head": _HEAD,
        "share": False,
        "ssr_mode": False,
        "run_history": False,
        "show_error": False,
        "max_file_size": "25mb",
        "footer_links": [],
        "state_session_capacity": 200,
        "enable_monitoring": False,
        "allowed_paths": [str(EXAMPLES_FOLDER)],
    }
