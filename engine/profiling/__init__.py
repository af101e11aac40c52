"""Profiles of training steps: every kernel of every step, one trace of all ranks, a report, a verdict."""

from cellwright.engine.profiling.compare import compare, compare_text
from cellwright.engine.profiling.merge import build_profile
from cellwright.engine.profiling.peaks import measure_peaks
from cellwright.engine.profiling.record import Execution, Node, RankRecord, Span, Step
from cellwright.engine.profiling.recorder import Recorder, profile
from cellwright.engine.profiling.report import timeline, write_report
from cellwright.engine.profiling.runs import Runs, compiled_in, measure_runs, measurements, run_steps
from cellwright.engine.profiling.table import tables
from cellwright.engine.profiling.table import text as table_text
from cellwright.engine.profiling.trace import bounded, chrome_trace, rank_spans, write_trace
from cellwright.engine.profiling.verdict import Measurements, RankRun, Verdict, judge

__all__ = [
    "Execution",
    "Measurements",
    "Node",
    "RankRecord",
    "RankRun",
    "Recorder",
    "Runs",
    "Span",
    "Step",
    "Verdict",
    "bounded",
    "build_profile",
    "chrome_trace",
    "compare",
    "compare_text",
    "compiled_in",
    "judge",
    "measure_peaks",
    "measure_runs",
    "measurements",
    "profile",
    "rank_spans",
    "run_steps",
    "table_text",
    "tables",
    "timeline",
    "write_report",
    "write_trace",
]
