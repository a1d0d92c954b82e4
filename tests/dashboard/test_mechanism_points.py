"""Keys of points: what was put in comes out, and what no chart made is refused in one sentence, by every section."""

from __future__ import annotations

import pytest

from dashboard.mechanism import damage, erasure, implicit, used
from dashboard.mechanism.effects import MEASURES
from dashboard.mechanism.points import layer_of, parts_of, point_key
from dashboard.mechanism.section import Section
from engine.errors import UnknownKeyError
from tests.dashboard.test_benchmark_figures import UNKNOWN_TO_THE_BUNDLED, keys_in

SYSTEM = "mini-qwen2-audio"
OF_NO_CHART = [
    (damage.SECTION, "text~pitch"),
    (used.SECTION, "layer 3"),
    (erasure.SECTION, f"{SYSTEM}~topic~linear~all~nine layers"),
    (implicit.SECTION, f"{SYSTEM}~topic~x"),
    *((section, point) for section in (erasure.SECTION, implicit.SECTION) for point in ("", "a~b")),
]
DRAWN = [
    (used.SECTION, {}),
    *(
        (erasure.SECTION, {"measure": measure, "where": where})
        for measure in MEASURES
        for where in ("nine.linear.all", "single.linear.all")
    ),
]


def test_a_key_gives_its_parts_back() -> None:
    assert parts_of(point_key("mini-ultravox", "all tasks", 12), 3) == ["mini-ultravox", "all tasks", "12"]
    assert layer_of("12") == 12


@pytest.mark.parametrize("point", ["", "a", "a~b~c", "a~", "~b"])
def test_a_key_of_another_form_is_refused(point: str) -> None:
    with pytest.raises(UnknownKeyError, match="choose one in the chart"):
        parts_of(point, 2)


@pytest.mark.parametrize("layer", ["", "x", "-1", "1.5", "12345", "²"])
def test_a_layer_that_is_no_number_is_refused(layer: str) -> None:
    with pytest.raises(UnknownKeyError, match="no number"):
        layer_of(layer)


@pytest.mark.parametrize(("section", "point"), OF_NO_CHART, ids=lambda one: getattr(one, "key", one))
def test_a_point_that_no_chart_made_is_refused(own_mechanism: object, section: Section, point: str) -> None:
    with pytest.raises(UnknownKeyError, match="choose"):
        section.clips("own", point)


@pytest.mark.parametrize(("section", "chosen"), DRAWN, ids=lambda one: getattr(one, "key", None))
def test_the_bundled_plotly_knows_every_attribute(
    own_mechanism: object, section: Section, chosen: dict[str, str]
) -> None:
    figure = section.draw("own", chosen).figure
    assert figure is not None and not keys_in(figure.to_plotly_json()) & UNKNOWN_TO_THE_BUNDLED
