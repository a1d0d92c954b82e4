"""The clip page's state in a link: written as a query string, read leniently, never trusted.

The tab reads it when the page loads and writes it when a link is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from dashboard.form import LAYER_CHOICES, MAX_LAYER_CHARACTERS, Form
from dashboard.opened import MARK, MAX_KEY_CHARACTERS
from dashboard.tables import SOURCES
from engine.request import LOGIT, METHODS, READOUTS, SCOPES
from engine.tasks import MAX_PROMPT_CHARACTERS, TASKS

LINK_NOISES = ("babble", "white")
LINK_SNR_DB = (-5, 20)


@dataclass(frozen=True)
class View:
    """What a link restores; None means that the link does not say.

    Attributes:
        snr_db: -5 to 20, the range of the slider.
        erasures: conditions that exist here; () when the link names none.
        layers: "preset", "all" or a list such as "1-4,8".
        strength: of the erasures, 0 to 1.
        readout: how the states are read beside the logit lens.
        run: whether the result was on screen, so that it is to be made again.
        clip: a clip of a benchmark, as `dashboard.opened.key_of` writes it; it may be one that is not here.
        ignored: parameters that were there but could not be used.
    """

    example: str | None = None
    task: str | None = None
    prompt: str | None = None
    pair: str | None = None
    noise: str | None = None
    snr_db: float | None = None
    erasures: tuple[str, ...] = ()
    scope: str | None = None
    layers: str | None = None
    method: str | None = None
    run: bool = False
    clip: str | None = None
    strength: float | None = None
    readout: str | None = None
    ignored: tuple[str, ...] = ()


def query_of(form: Form, example: str | None, run: bool, clip: str | None = None) -> str:
    """Return the query string, "?" included, that restores these controls.

    Args:
        form: the controls; texts of own clips are not written down, only an example's key is.
        example: key of the example on screen, None for an own clip.
        run: whether its result is on screen.
        clip: key of a benchmark's clip on screen, in place of an example.
    """
    query: dict[str, str] = {"task": form.task}
    if clip:
        query["clip"] = clip
    elif example:
        query["example"] = example
    query["systems"] = form.pair
    if form.prompt and TASKS[form.task].kind in ("choices", "free"):
        query["prompt"] = form.prompt
    if form.noise in LINK_NOISES:
        query |= {"noise": form.noise, "snr": f"{form.snr_db:g}"}
    if form.erasures:
        layers = form.layer_text.replace(" ", "") if form.layers == "custom" else form.layers
        query |= {"erase": ",".join(form.erasures), "scope": form.scope, "layers": layers}
        query |= {"method": form.method, "strength": f"{form.strength:g}"}
    if form.readout != LOGIT:
        query["readout"] = form.readout
    if run and (example or clip):
        query["run"] = "1"
    return "?" + urlencode(query)


def view_of(
    query: Mapping[str, str],
    *,
    examples: Collection[str],
    pairs: Collection[str],
    conditions: Collection[str],
) -> View:
    """Return what a query string asks for; whatever does not exist here is listed as ignored.

    Args:
        query: parameters of the address; others than ours are left alone.
        examples: keys of the examples.
        pairs: keys of the pairs that can run.
        conditions: keys of the erasures.
    """
    ignored: list[str] = []

    def one_of(name: str, allowed: Collection[str]) -> str | None:
        value = query.get(name)
        if value is None or value in allowed:
            return value
        ignored.append(name)
        return None

    asked = [key for key in query.get("erase", "").split(",") if key]
    if any(key not in conditions for key in asked):
        ignored.append("erase")
    prompt = query.get("prompt")
    if prompt is not None and len(prompt) > MAX_PROMPT_CHARACTERS:
        ignored.append("prompt")
        prompt = None
    return View(
        example=one_of("example", examples),
        task=one_of("task", TASKS),
        prompt=prompt,
        pair=one_of("systems", pairs),
        noise=one_of("noise", LINK_NOISES),
        snr_db=_number("snr", LINK_SNR_DB, query, ignored),
        erasures=tuple(key for key in dict.fromkeys(asked) if key in conditions),
        scope=one_of("scope", SCOPES),
        layers=_layers(query, ignored),
        method=one_of("method", METHODS),
        strength=_number("strength", (0, 1), query, ignored),
        readout=one_of("readout", READOUTS),
        clip=_clip(query, ignored),
        run=query.get("run") == "1",
        ignored=tuple(dict.fromkeys(ignored)),
    )


def _clip(query: Mapping[str, str], ignored: list[str]) -> str | None:
    value = query.get("clip")
    if value is None:
        return None
    source, mark, clip_id = value.partition(MARK)
    if source not in SOURCES or not mark or not clip_id or len(value) > MAX_KEY_CHARACTERS:
        ignored.append("clip")
        return None
    return value


def _number(
    name: str, between: tuple[float, float], query: Mapping[str, str], ignored: list[str]
) -> float | None:
    if name not in query:
        return None
    try:
        value = float(query[name])
    except ValueError:
        value = float("nan")
    if not between[0] <= value <= between[1]:
        ignored.append(name)
        return None
    return value


def _layers(query: Mapping[str, str], ignored: list[str]) -> str | None:
    value = query.get("layers")
    if value is None or value in LAYER_CHOICES[:2]:
        return value
    if len(value) > MAX_LAYER_CHARACTERS or set(value) - set("0123456789,-"):
        ignored.append("layers")
        return None
    return value
