"""Runs on behalf of one person at a time, and the finished runs that a page may still ask for.

Page and endpoints both call `run_steps` or `run_once`. A page holds only the id of its result; the
results lie here, bounded in number and age, and nobody can guess another's id.
"""

from __future__ import annotations

import logging
import queue
import secrets
import statistics
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from dashboard.form import Form
from engine.errors import EngineError
from engine.request import RunRequest
from engine.results import RunResult
from engine.systems.catalogue import get_spec
from engine.systems.profiles import offered_pairs, profile_in_use

if TYPE_CHECKING:
    from engine.lens import TokenTrack

logger = logging.getLogger(__name__)

MOST_RESULTS = 60
LONGEST_KEPT_S = 3600.0
HEARTBEAT_S = 0.4
GPU_SECONDS = 30

Function = TypeVar("Function", bound=Callable[..., Any])
Progress = Callable[[float, str], None]
Job = Callable[[Progress], Any]

try:
    from spaces import GPU
except ImportError:  # only Spaces bring the package; elsewhere the function stays as it is

    def GPU(*, duration: int) -> Callable[[Function], Function]:  # noqa: N802 - name given by `spaces`
        """Return a decorator that changes nothing."""
        del duration
        return lambda function: function


@dataclass(frozen=True)
class Step:
    """Where a run stands: fraction 0..1 and what is being done, in words."""

    fraction: float
    message: str


@dataclass(frozen=True)
class Answered:
    """A run's result before the last of its verdict: all answers are there, the comparison of transcripts is not."""

    result: RunResult


@dataclass(frozen=True)
class Finished:
    """A finished run and what it was made from.

    Attributes:
        audio_file: the clip as the models heard it, for the player.
        clean_id: id of a run of the same question without noise, where there is one.
        stored: when and by which weights it was made, of a result that was stored; "" of one measured here.
    """

    request: RunRequest
    result: RunResult
    form: Form
    audio_file: str
    clean_id: str | None
    stored: str = ""


class ResultStore:
    """Finished runs by id: at most MOST_RESULTS, none older than LONGEST_KEPT_S seconds."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, Finished]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, finished: Finished) -> str:
        """Keep it and return its id, 128 random bits."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[key] = (time.monotonic(), finished)
            self._drop_old()
        return key

    def amend(self, key: str, result: RunResult) -> None:
        """Put the whole of a result in place of what was answered first; nothing where it was dropped meanwhile."""
        with self._lock:
            if key in self._kept:
                since, finished = self._kept[key]
                self._kept[key] = (since, replace(finished, result=result))

    def get(self, key: str | None) -> Finished | None:
        """Return the run with this id, None where it was dropped or never was."""
        with self._lock:
            self._drop_old()
            kept = self._kept.get(key or "")
        return None if kept is None else kept[1]

    def _drop_old(self) -> None:
        oldest = time.monotonic() - LONGEST_KEPT_S
        while self._kept:
            key, (since, _) = next(iter(self._kept.items()))
            if len(self._kept) <= MOST_RESULTS and since >= oldest:
                return
            del self._kept[key]


class Durations:
    """How long the last runs took, by the number of erasures in them."""

    def __init__(self) -> None:
        self._seconds: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=5))
        self._is_warm = False

    def add(self, n_erasures: int, seconds: float) -> None:
        """Remember one run; the first of a process also warms up and says nothing of the next."""
        if self._is_warm:
            self._seconds[n_erasures].append(seconds)
        self._is_warm = True

    def line(self, n_erasures: int) -> str:
        """Return the estimate in words; it says so when nothing like it ran yet."""
        last = self._seconds.get(n_erasures)
        if last:
            runs = "run" if len(last) == 1 else f"{len(last)} runs"
            return f"About {statistics.median(last):.1f} s on this machine, from the last {runs} like it."
        if self._is_warm:
            return "No estimate yet for a run with this many erasures."
        return "The first run takes longer: the models warm up."


def n_erased(n_erasures: int, strength: float) -> int:
    """Return how many erasures a run really makes: at strength 0 it makes none, and takes no time for them."""
    return n_erasures if strength else 0


RESULTS = ResultStore()
DURATIONS = Durations()
# The queue already runs one job at a time; a stopped run may outlast its place in it by one step.
_model_lock = threading.Lock()


class _StoppedError(Exception):
    """Raised inside the engine's progress call, so that it unwinds where it stands."""


_Tell = Callable[[Step | Answered], None]


@dataclass(frozen=True)
class _Done:
    """What a job returned, told apart from its steps."""

    value: Any


@GPU(duration=GPU_SECONDS)
def run_steps(request: RunRequest) -> Iterator[Step | Answered | RunResult]:
    """Yield a step at least every HEARTBEAT_S seconds and the result last; closing it stops the run.

    Where its verdict takes longer than its answers, they come before it, as `Answered`.

    Raises:
        EngineError: the engine refuses the input.
    """
    yield from _steps(partial(_run, request))


@GPU(duration=GPU_SECONDS)
def job_steps(job: Job) -> Iterator[Step | Any]:
    """Yield as `run_steps` does, for any job that touches the models; what it returns comes last.

    Args:
        job: called with the function that reports progress; it imports what it needs by itself.

    Raises:
        EngineError: the engine refuses the input.
    """
    yield from _steps(lambda tell: job(lambda fraction, message: tell(Step(fraction, message))))


def _steps(work: Callable[[_Tell], Any]) -> Iterator[Step | Any]:
    told: queue.SimpleQueue[Step | Answered | _Done | Exception] = queue.SimpleQueue()
    stop = threading.Event()

    def tell(news: Step | Answered) -> None:
        if stop.is_set():
            raise _StoppedError
        told.put(news)

    worker = threading.Thread(target=_work, args=(work, tell, told), name="run", daemon=True)
    worker.start()
    latest = Step(0.0, "Starting")
    try:
        while True:
            news: Step | Answered | _Done | Exception
            try:
                news = told.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                news = latest
            if isinstance(news, Exception):
                raise news
            if isinstance(news, _Done):
                yield news.value
                return
            yield news
            if isinstance(news, Step):
                latest = news
    finally:
        stop.set()


def _work(
    work: Callable[[_Tell], Any],
    tell: _Tell,
    told: queue.SimpleQueue[Step | Answered | _Done | Exception],
) -> None:
    try:
        tell(Step(0.0, "Loading the models"))
        with _model_lock:
            told.put(_Done(work(tell)))
    except _StoppedError:
        logger.info("a run was stopped")
    except Exception as error:  # carried to the caller's thread and raised there
        told.put(error)


def _run(request: RunRequest, tell: _Tell) -> RunResult:
    # Brings torch, so it is not loaded with the page; under the lock, because two threads that import
    # transformers at once can find its modules half made.
    from engine.run import run

    tell(Step(0.0, "Starting"))
    return run(
        request,
        lambda fraction, message: tell(Step(fraction, message)),
        lambda result: tell(Answered(result)),
    )


def run_once(request: RunRequest) -> RunResult:
    """Return the result of a run, for callers who do not watch it.

    Raises:
        EngineError: the engine refuses the input.
    """
    for news in run_steps(request):
        if isinstance(news, RunResult):
            DURATIONS.add(n_erased(len(request.erasures), request.strength), news.seconds)
            return news
    raise RuntimeError("a run ended without a result")


def job_once(job: Job) -> Any:
    """Return what a job returns, for callers who do not watch it; raises as `job_steps`."""
    *_, found = job_steps(job)
    return found


@GPU(duration=GPU_SECONDS)
def follow_token(request: RunRequest, text: str) -> TokenTrack:
    """Return rank and probability of one token at each layer and position of this run's clip.

    Raises:
        EngineError: the text is no token of the vocabulary, or the engine refuses the input.
    """
    from engine.run import track_token

    with _model_lock:
        return track_token(request, text)


def warm_up() -> None:
    """Load libraries and models in the background, so that the page itself starts at once."""
    threading.Thread(target=_load_models, name="warm-up", daemon=True).start()


def _load_models() -> None:
    try:
        with _model_lock:
            _load_all()
    except EngineError as error:
        # The first run says the same sentence on the page; here it is for whoever started the app.
        logger.warning("%s", error)


def _load_all() -> None:
    import plotly.graph_objects  # noqa: F401 - the first chart would otherwise wait for it

    from engine.checks import batch_is_exact
    from engine.systems import loading

    shipped = profile_in_use().key == "mini"
    # The minis fit beside one another; of published models the first pair is what a person meets.
    for pair in list(offered_pairs().values())[: None if shipped else 1]:
        if any(get_spec(key).is_remote for key in pair.systems):
            continue  # a service is asked only when somebody presses Run
        loading.load_speech_llm(pair.speech_llm)
        loading.load_cascade(pair.cascade)
        loading.load_text_llm(pair.text_oracle)
        if not shipped:
            batch_is_exact(pair.speech_llm)  # the first run would wait for its checks, most of a minute
