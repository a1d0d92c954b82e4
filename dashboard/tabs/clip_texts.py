"""Short texts of the page as HTML, escaped; the only place where the rail's words become markup."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dashboard.preparing import ProfileState
from engine.tasks import FREE_FORMS, TASKS


def small(text: str) -> str:
    """Return a quiet line of text; nothing for an empty one."""
    return f'<p class="small">{escape(text)}</p>' if text else ""


def problem(text: str) -> str:
    """Return a line that says what is wrong, in the colour of warnings."""
    return f'<p class="small problem">{escape(text)}</p>'


def stale_line() -> str:
    """Return the line above a result that is not of the settings that the rail shows now."""
    return (
        '<p class="stale" role="status"><b>Old result: settings changed - Run</b> '
        "What stands below is of what was chosen before.</p>"
    )


def sentence_html(text: str) -> str:
    """Return the sentence to read aloud."""
    return f'<p class="read-aloud">{escape(text)}</p>'


def card_title(text: str) -> str:
    """Return the heading of a card."""
    return f'<h2 class="card-title">{escape(text)}</h2>'


def task_hint(task_key: str) -> str:
    """Return what decides the answer and, for own prompts, which forms the minis know; plain text."""
    task = TASKS[task_key]
    return f"{task.help} Known forms: {' '.join(FREE_FORMS)}" if task.kind == "free" else task.help


def profile_note(state: ProfileState | None) -> str:
    """Return how far the page's profile is, each system's sentence folded below; nothing for what ships."""
    if state is None:
        return ""
    told = f"Profile {state.key}: {state.n_ready} of {state.n_systems} systems ready"
    doing = f"{state.now}. Meanwhile the page works on what is ready." if state.now else ""
    return small(doing) + folded(told, state.lines)


def folded(title: str, lines: Sequence[str]) -> str:
    """Return sentences below a title that opens them."""
    rows = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<details class="profile-state"><summary>{escape(title)}</summary><ul>{rows}</ul></details>'
