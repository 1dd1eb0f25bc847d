"""Results, goals, report and chart, from measurements made up here."""

import json
from xml.etree import ElementTree

import pytest

from bench import chart, goals, report
from bench.measure import Measurement, outcome, values_of
from bench.results import Results


def measured(
    row: str, case: str, peer: str, number: int = 0, problem: str = "", **values: float
) -> Measurement:
    return Measurement(row=row, case=case, peer=peer, round=number, values=values, problem=problem)


def results(*measurements: Measurement) -> Results:
    return Results(environment={"machine": "a | b"}, measurements=list(measurements))


SMALL = (
    measured("small", "1 conn", "floor", p50_us=110, p99_us=160, rate=9000, cpu_us=60),
    measured("small", "1 conn", "nginx", p50_us=100, p99_us=200, rate=10000, cpu_us=50),
    measured("small", "1 conn", "nginx", 1, p50_us=120, p99_us=220, rate=9000, cpu_us=50),
    measured("small", "1 conn", "gateway", p50_us=121, p99_us=300, rate=8000, cpu_us=75),
)


def test_results_round_trip() -> None:
    made = results(*SMALL)
    lines = [json.dumps({"type": "run", **made.environment}), *(m.dump() for m in made.measurements)]
    assert Results.read(lines) == made


def test_an_unknown_line_is_refused() -> None:
    with pytest.raises(ValueError, match="not a line of results"):
        Results.read(['{"type": "other"}'])


def test_results_by_place() -> None:
    made = results(*SMALL)
    assert made.peers() == ["floor", "nginx", "gateway"]
    assert made.places() == [("small", "1 conn")]
    assert made.value("small", "1 conn", "nginx", "p50_us") == 110
    assert made.value("small", "1 conn", "nginx", "nothing") is None
    assert made.problem("small", "1 conn", "nginx") == ""


def verdict(text: str, *measurements: Measurement) -> goals.Judged:
    (goal,) = [goal for goal in goals.GOALS if text in goal.text]
    return goal.judge(results(*measurements))


def test_a_ratio_goal() -> None:
    judged = verdict("small: p50", *SMALL)
    assert judged.value == pytest.approx(1.1)
    assert judged.verdict == "reached"
    assert verdict("small: p50", *SMALL[:3]).verdict == "no data"


@pytest.mark.parametrize(("limit", "word"), [(75, "reached"), (76, "missed")])
def test_a_count_of_calls_is_held_to_its_limit(limit: float, word: str) -> None:
    counted = measured("calls", "json", "gateway", python_calls=limit, c_calls=1)
    assert verdict("a json request, Python", counted).verdict == word


def test_translated_cpu_is_held_against_the_floor_relaying() -> None:
    floor = measured("paced", "200 x 50/s", "floor", cpu_us=10)
    mine = measured("translate", "gemini 200 x 50/s", "gateway", cpu_us=17)
    assert verdict("translated from Gemini", floor, mine).value == pytest.approx(1.7)
    other = measured("translate", "openai 200 x 50/s", "gateway", cpu_us=34)
    assert verdict("from OpenAI, x from Gemini", mine, other).value == pytest.approx(2.0)


def test_memory_of_idle_streams_is_a_difference() -> None:
    mine = measured("footprint", "process", "gateway", rss_idle_mb=30, rss_1000_mb=41)
    assert verdict("opened together add", mine).verdict == "reached"
    assert verdict("opened together add", measured("footprint", "process", "gateway")).verdict == "no data"


def test_one_lost_event_in_one_round_misses_the_goal() -> None:
    place = ("paced", "1000 x 10/s", "gateway")
    well = measured(*place, late=0, lost=0)
    assert verdict("late or lost", well).verdict == "reached"
    assert verdict("late or lost", well, measured(*place, 1, late=0, lost=1)).verdict == "missed"
    assert verdict("late or lost").verdict == "no data"


def test_the_row_table_has_medians_spread_and_ratios() -> None:
    text = report.row_table(results(*SMALL), "small")
    header, rule, floor, nginx, gateway = text.splitlines()
    assert header.startswith(
        "| case | peer | p50 us | p99 us | req/s | CPU us/req | p50 / floor | p50 / nginx |"
    )
    assert rule.startswith("| --- | --- |")
    assert floor.startswith("| 1 conn | floor | 110 | 160 | 9,000 | 60.0 |  | 1.00 |")
    assert nginx.startswith("| 1 conn | nginx | 110 ±9 % | 210 ±5 % | 9,500 ±5 % | 50.0 ±0 % | 1.00 |  |")
    assert gateway.startswith("| 1 conn | gateway | 121 | 300 | 8,000 | 75.0 | 1.10 | 1.10 |")


def test_a_row_that_a_peer_cannot_do_shows_the_reason() -> None:
    made = results(*SMALL, measured("small", "1 conn", "other", problem="has no route"))
    text = report.markdown(made)
    assert "- other: has no route" in text
    assert "| other |" not in text


def test_a_problem_beside_numbers_names_its_case() -> None:
    made = results(measured("small", "1 conn", "nginx", problem="1 x closed", rate=5.0))
    assert report.notes(made, "small") == ["- nginx, 1 conn: 1 x closed"]


def test_markdown_has_goals_only_with_the_gateway() -> None:
    assert "## Goals" in report.markdown(results(*SMALL))
    assert "## Goals" not in report.markdown(results(*SMALL[:2]))


def test_burst_marks_peers_whose_core_was_not_full() -> None:
    made = results(measured("burst", "64 streams", "nginx", rate=1.0, peer_busy=0.5))
    assert "nginx *" in report.markdown(made)
    made = results(measured("burst", "64 streams", "nginx", rate=1.0, peer_busy=0.99))
    assert "nginx *" not in report.markdown(made)


def test_table_escapes_bars() -> None:
    assert report.table(["a"], [["x|y"]]) == "| a |\n| --- |\n| x\\|y |"


def test_the_chart_is_svg_with_a_bar_for_each_peer() -> None:
    root = ElementTree.fromstring(chart.svg(results(*SMALL)))
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    texts = [element.text for element in root.iter(f"{space}text")]
    assert "2 KB request, 1 connection: p50" in texts
    assert {"floor", "nginx", "gateway"} <= set(texts)
    assert len(list(root.iter(f"{space}rect"))) == 1 + 3


def test_a_chart_of_nothing_is_still_svg() -> None:
    assert ElementTree.fromstring(chart.svg(results())).tag.endswith("svg")


RESULT = {
    "seconds": 2.0,
    "requests": 100,
    "events": 1000,
    "total": {"p50": 1.0},
    "first": {"p50": 2.0},
    "delay": {"p50": 3.0},
    "late": 1,
    "lost": 2,
    "opening_delay": 5,
}


def test_values_of_a_closed_loop() -> None:
    values = values_of("complete", RESULT, {"peer": 0.01, "upstream": 1.0})
    assert values == {"rate": 50.0, "cpu_us": 100.0, "peer_busy": 0.005, "upstream_busy": 0.5, "p50_us": 1.0}


def test_values_of_paced_streams() -> None:
    values = values_of("paced", RESULT, {"upstream": 0.0})
    assert values["rate"] == 500.0
    assert (values["p50_us"], values["first_p50_us"], values["late"], values["lost"]) == (3.0, 2.0, 1, 2)
    assert "cpu_us" not in values


def test_values_of_nothing() -> None:
    assert values_of("burst", RESULT | {"events": 0}, {"upstream": 0.0}) == {}


@pytest.mark.parametrize(("refused", "has_numbers"), [(0, True), (10, True), (11, False), (1000, False)])
def test_a_peer_that_refuses_requests_has_no_values(refused: int, has_numbers: bool) -> None:
    result = {
        "seconds": 1.0,
        "requests": 1000,
        "total": {"p50": 5.0},
        "errors": {"status 500": refused} if refused else {},
    }
    values, problem = outcome("complete", result, {"upstream": 0.0}, {"upstream": 0.5})
    assert bool(values) is has_numbers
    assert problem == (f"{refused} x status 500" if refused else "")
