"""The data in the charts, their dark-theme dress, and tables that escape what they show."""

from __future__ import annotations

import numpy as np

from dashboard.figures.charts import emergence_figure, emergence_table, token_figure, token_table
from dashboard.figures.table import table_html
from engine.lens import TokenTrack
from engine.results import RunResult


def track(result: RunResult) -> TokenTrack:
    ranks = np.arange(1, result.lens.word_rank.size + 1).reshape(result.lens.word_rank.shape)
    return TokenTrack(" team", 1, result.lens.layers, ranks, 1 / ranks.astype(np.float32))


def test_the_emergence_chart_holds_precision_and_control(result: RunResult) -> None:
    figure = emergence_figure(result.lens)
    assert list(figure.data[0].y)[3] == 0.75
    assert list(figure.data[1].y) == [0.1] * 4
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


def test_the_token_chart_holds_ranks_at_the_middle_of_their_columns(result: RunResult) -> None:
    figure = token_figure(track(result), result.lens)
    assert figure.data[0].customdata[0, 0] == 1
    assert float(figure.data[0].x[0]) == 0.08
    assert float(figure.data[0].z[0, 0]) == 0.0


def test_tables_have_a_row_per_layer(result: RunResult) -> None:
    for text in (emergence_table(result.lens), token_table(track(result), result.lens)):
        assert text.count("<tr>") == 1 + len(result.lens.layers)
    assert "one token holds most columns" in emergence_table(result.lens)


def test_cells_are_escaped() -> None:
    assert "<img" not in table_html("<img>", ["<img>"], [["<img src=x>"]])
