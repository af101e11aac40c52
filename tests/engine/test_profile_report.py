"""Trace, comparison and report, from made-up records of two ranks; the report in a real browser."""

import json
import random

import browser
import pytest

from cellwright.engine import profiling
from cellwright.engine.profiling import Execution, Measurements, Node, RankRecord, RankRun, Span, Step

MS = 1_000_000
KINDS = (
    ("conv", "forward", 6.0),
    ("conv_input_gradient", "input gradient", 7.0),
    ("weight_gradient", "weight gradient", 8.0),
)


def made_record(rank, clock, slower=1.0, steps=6):
    """Steps of some 100 ms in which three layers run their kernels; `clock`: what this rank's clock shows at the
    first one, ns."""
    draw = random.Random(rank)
    record = RankRecord(
        rank=rank,
        host="here",
        threads=1,
        cores=(rank,),
        peaks={"gflops": 150.0, "matmul_gflops": 120.0, "gbytes": 20.0},
    )
    now = clock
    for number in range(steps):
        step = Step(now, wait=3 * MS, loss=2.5 - 0.2 * number if number else float("nan"), images=16)
        record.spans.append(Span("host", "data wait", now, now + 3 * MS))
        record.ring.append((now + 3 * MS, number % 4, 5))
        begin = now = now + 4 * MS
        for kind, direction, milliseconds in KINDS:
            phase = "forward" if direction == "forward" else "backward"
            for layer in ("stem", "layer1.0", "layer1.1"):
                spent = int(milliseconds * MS * (slower if layer == "stem" else 1) * draw.uniform(0.95, 1.05))
                done = (now, now + spent, spent, milliseconds * 1e8, 4e6 * len(layer))
                step.executions.append(Execution(kind, layer, phase, direction, "stock", "graph", *done))
                step.nodes.append(Node(phase, now, now + spent))
                now += spent
        step.executions.append(
            Execution("allreduce", "", "allreduce", "", "node", "collectives", now, now + 5 * MS, 5 * MS, 0, 4e7)
        )
        step.nodes.append(Node("allreduce", now, now + 5 * MS))
        now += 6 * MS
        step.graphs.append((begin, now))
        now += MS
        step.end = now
        record.steps.append(step)
    return record


def made_profile(records, **settings):
    runs = tuple(RankRun(100) for _ in records)
    verdict = profiling.judge(
        Measurements(
            as_is=runs, cached=runs, silent=tuple(RankRun(94) for _ in records), loader_ms=30, workers=2, buckets=1
        )
    )
    about = {"net": "made </script> up", "batch_size": 16, "machine": {"processor": "P", "cores": 2}, "versions": {}}
    return profiling.build_profile(records, about, verdict, {"plain_ms": 100.0, "profiled_ms": 103.0}, **settings)


@pytest.fixture(scope="module")
def ranks():
    """Two ranks that began at the same moment, by clocks that differ by an hour."""
    first, second = made_record(0, 10**12), made_record(1, 10**12 - 3600 * 10**9)
    second.offset, second.error = 3600 * 10**9, 2000
    return [(record, profiling.rank_spans(record)) for record in (first, second)]


def test_an_allreduce_behind_backward_counts_where_nothing_else_runs():
    nodes = [Node("allreduce", 20, 60), Node("backward", 10, 30), Node("backward", 30, 50), Node("update", 70, 80)]
    phases = Step(0, 100, wait=5, graphs=[(5, 90)], nodes=nodes).phases()
    wanted = {"backward": 40, "allreduce": 10, "update": 10, "gaps": 25, "data wait": 5, "host": 10, "forward": 0}
    assert phases == wanted and sum(phases.values()) == 100


def test_all_ranks_are_on_one_clock(ranks):
    trace = json.loads(json.dumps(profiling.chrome_trace(ranks)))
    events = trace["traceEvents"]
    starts = {pid: min(e["ts"] for e in events if e["ph"] == "X" and e["pid"] == pid) for pid in (0, 1)}
    assert starts == {0: 0, 1: 0}
    assert max(e["ts"] + e["dur"] for e in events if e["ph"] == "X") < 1.2e6  # the steps of a second, not an hour
    names = {e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert {"steps", "host", "graph", "collectives"} <= names
    rings = [e["args"] for e in events if e["ph"] == "C"]
    assert len(rings) == 12 and all(set(r) == {"ready", "not ready"} and sum(r.values()) == 5 for r in rings)
    assert trace["otherData"]["clocks"]["rank 1"]["error_us"] == 2


def test_a_trace_is_bounded_and_says_what_it_left_out(ranks):
    whole = [e for e in profiling.chrome_trace(ranks)["traceEvents"] if e["ph"] == "X"]
    trace = profiling.chrome_trace(ranks, budget=60)
    kept = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert len(kept) == 60 < len(whole)
    left = trace["otherData"]["left_out"]
    assert sum(rank["events"] for rank in left.values()) == len(whole) - 60
    assert sum(e["name"].startswith("step") for e in kept) == 12  # what frames the rest stays
    dropped = {(e["pid"], e["ts"], e["name"]) for e in whole} - {(e["pid"], e["ts"], e["name"]) for e in kept}
    kernels = [e for e in kept if "args" in e and "layer" in e["args"] and e["args"]["layer"]]
    longest = max(e["dur"] for e in whole if e["pid"] == 0 and (0, e["ts"], e["name"]) in dropped)
    assert all(e["dur"] >= longest for e in kernels if e["pid"] == 0)
    assert not profiling.chrome_trace(ranks)["otherData"]["left_out"]


def test_compare_names_what_became_slower():
    before, after = (made_profile([made_record(0, 0, slower)]) for slower in (1.0, 1.5))
    rows = profiling.compare(before, after)
    sure = {(row["kind"], row["layer"]) for row in rows if row["certain"]}
    assert sure == {(kind, "stem") for kind, _, _ in KINDS}
    assert all(row["ratio"] == pytest.approx(1.5, rel=0.1) for row in rows if row["certain"])
    noise = profiling.compare(before, made_profile([made_record(1, 0)]))
    assert noise and not any(row["certain"] for row in noise)
    text = profiling.compare_text(before, after)
    assert "3 kernels became slower" in text and "0 kernels became faster" in text
    assert "3 kernels became faster" in profiling.compare_text(after, before)
    assert "0 kernels became slower" in profiling.compare_text(before, before)


def test_a_profile_is_strict_json(ranks):
    made = made_profile([record for record, _ in ranks])
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert made["loss"][0] == [0, None]
    assert made["images_per_s"] == pytest.approx(32e3 / made["step_ms"]["median"])
    assert [rank["rank"] for rank in made["ranks"]] == [0, 1]
    row = next(row for row in made["kernels"] if (row["kind"], row["layer"]) == ("conv", "stem"))
    intensity = row["flops"] / row["bytes"]
    assert row["of_peak"] == pytest.approx(row["gflops"] / min(150, 20 * intensity))
    with pytest.raises(ValueError, match="no step"):
        profiling.build_profile([RankRecord()])


@pytest.fixture(scope="module")
def report(ranks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    made = made_profile([record for record, _ in ranks])
    return made, profiling.write_report(folder / "report.html", made, profiling.timeline(ranks), "A & B <script>")


def test_the_report_holds_all_it_needs(report):
    _, path = report
    page = path.read_text(encoding="utf-8")
    assert "{{" not in page.replace("\\u007b", "") and "<title>A &amp; B &lt;script&gt;</title>" in page
    for word in ('src="http', 'href="http', "@import", "url(", "fetch(", "import("):
        assert word not in page


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium or Chrome is installed: the report was not looked at in a browser")
    opened = browser.Page(program, tmp_path_factory.mktemp("browser"))
    try:
        opened.open(report[1].as_uri())
        yield opened
    finally:
        opened.close()


ROWS = "[...document.querySelectorAll('#kernels tbody tr')]"


def test_the_page_shows_the_numbers_of_the_json(page, report):
    made = report[0]
    assert page.evaluate(f"{ROWS}.map(r => Number(r.dataset.ms))") == [row["ms"] for row in made["kernels"]]
    shown = page.evaluate(f"{ROWS}.map(r => [...r.cells].map(c => c.innerText.trim()))")
    for cells, row in zip(shown, made["kernels"]):
        assert cells[:5] == [row[key] for key in ("kind", "layer", "direction", "phase", "source")]
        assert float(cells[5].replace(",", "")) == pytest.approx(row["ms"], rel=6e-3)
        assert cells[6] == f"{100 * row['share']:.1f} %"
    assert (
        page.evaluate("document.getElementById('verdicttext').innerText")
        == made["verdict"]["text"].split(" Try first:")[0]
    )
    assert page.evaluate("document.querySelector('.figure b').innerText") == f"{made['step_ms']['median']:.3g} ms"


def test_the_table_sorts_filters_and_groups(page, report):
    kernels = report[0]["kernels"]
    layers = f"{ROWS}.map(r => r.cells[1].innerText)"
    page.evaluate("document.querySelector('th[data-key=layer]').click()")
    assert page.evaluate(layers) == sorted(row["layer"] for row in kernels)
    page.evaluate("document.querySelector('th[data-key=layer]').click()")
    assert page.evaluate(layers) == sorted((row["layer"] for row in kernels), reverse=True)
    page.evaluate("document.querySelector('th[data-key=ms]').click()")
    assert page.evaluate(f"{ROWS}.map(r => Number(r.dataset.ms))") == sorted(
        (row["ms"] for row in kernels), reverse=True
    )
    page.evaluate("f = document.getElementById('filter'); f.value = 'stem grad'; f.dispatchEvent(new Event('input'))")
    wanted = [row["ms"] for row in kernels if row["layer"] == "stem" and "gradient" in row["direction"]]
    assert page.evaluate(f"{ROWS}.map(r => Number(r.dataset.ms))") == wanted
    page.evaluate(
        "f.value = ''; f.dispatchEvent(new Event('input')); document.querySelector('[data-view=types]').click()"
    )
    assert page.evaluate(f"{ROWS}.map(r => r.cells[0].innerText.trim())") == [row["kind"] for row in report[0]["types"]]


def test_every_part_is_drawn_and_nothing_complains(page):
    for part in ("steps", "roofline", "flame", "ring", "loss"):
        assert page.evaluate(f"document.querySelectorAll('#{part} svg *').length") > 8, part
    assert page.evaluate("document.querySelectorAll('#roofline circle').length") == 9
    ink = (
        "(() => { const c = document.querySelector('#timeline canvas');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
    )
    assert (
        page.evaluate(
            ink + " let n = 0; for (let k = 3; k < d.length; k += 4) n += d[k] > 0; return n / (d.length / 4); })()"
        )
        > 0.15
    )
    for button in ("zoomin", "zoomout", "zoomall", "zoomstep", "theme", "flameup"):
        page.evaluate(f"document.getElementById('{button}').click()")
    page.evaluate("document.querySelectorAll('#flame rect')[1].dispatchEvent(new MouseEvent('click'))")
    assert page.trouble == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
