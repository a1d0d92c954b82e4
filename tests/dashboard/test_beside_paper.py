"""Facts about the paper's figures beside a run on its corpora: the same task and systems, and no others."""

from __future__ import annotations

import pytest

from dashboard.beside_paper import NOT_ALIKE, paper_sentence
from dashboard.components.pair_card import paper_html

PAIR = {"system_a": "ultravox-v0.6-8b", "system_b": "whisper-large-v3-llama-3.1-8b"}


def test_the_papers_figures_of_the_same_pair_and_corpus() -> None:
    """Figure 1 and Table 2; the matched cascades' accuracies were not published."""
    said = paper_sentence({**PAIR, "task": "ag_news", "noise": "clean"})
    assert said.startswith("The paper: kappa 0.93 [0.92, 0.94] (Figure 1")
    assert "Ultravox v0.6 83.3 %" in said and "not published" in said and said.endswith(NOT_ALIKE)
    meld = paper_sentence({**PAIR, "task": "meld", "noise": "clean"})
    assert "kappa 0.52, no interval (Figure 1" in meld and "39.8 %" in meld


def test_a_pair_that_it_did_not_compare_says_so() -> None:
    other = {"system_a": "phi-4-multimodal", "system_b": "whisper-large-v3-qwen2.5-7b"}
    said = paper_sentence({**other, "task": "sst2", "noise": "clean"})
    assert "no kappa of this pair" in said and "82.0 %" in said and "88.5 %" in said


@pytest.mark.parametrize(
    "change",
    [{"task": "topic"}, {"task": "my-calls"}, {"noise": "musan"}, {"system_b": "mini-cascade"}],
)
def test_nothing_stands_beside_another_task_noise_or_system(change: dict[str, str]) -> None:
    row = {**PAIR, "task": "ag_news", "noise": "clean", **change}
    assert paper_sentence(row) == "" == paper_html(row)
    assert "The paper: kappa" in paper_html({**PAIR, "task": "ag_news", "noise": "clean"})
