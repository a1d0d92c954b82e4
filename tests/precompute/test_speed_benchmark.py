"""The plain script and the benchmark's stages are compared only because they make the same answers."""

from __future__ import annotations

from precompute.plan import make_plan
from precompute.settings import Settings
from precompute.speed_benchmark import answer_in_stages, answer_one_by_one


def test_both_make_the_same_answers() -> None:
    systems = ("mini-ultravox", "mini-cascade", "mini-llama")
    plan = make_plan(Settings(quick=True, limit=1, tasks=("topic", "trivia"), systems=systems))
    plain, stages = answer_one_by_one(plan), answer_in_stages(plan)
    assert len(plain) == len(list(plan.cells())) > 6
    assert plain == stages
