from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from cerebro_nas.hopper import ScheduleEntry
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import schedule_summary
from cerebro_nas.tracking import ScheduleReport
from cerebro_nas.tracking import plot_timeline
from cerebro_nas.tracking import save_schedule
from cerebro_nas.tracking._timeline import timeline_svg

SVG = "{http://www.w3.org/2000/svg}"
LOG = [
    ScheduleEntry("w0", Unit("a&b", "train", 0, Shard("train", 0)), 10.0, 12.0, 1.5, "done", {"bytes": 3}),
    ScheduleEntry("w1", Unit("c", "train", 0, Shard("train", 1)), 10.0, 14.0, 4.0, "done"),
    ScheduleEntry("w0", Unit("c", "evaluate", 0, Shard("valid", 0)), 14.0, 15.0, 0.5, "failed"),
    ScheduleEntry("w10", Unit("f", "call", 0, None), 10.0, 15.0, 5.0, "done"),
]


def test_report_says_what_happened() -> None:
    figures = schedule_summary(LOG, ["w0", "w1", "w10"], 10.0, 15.0)
    report = ScheduleReport(
        figures, {("COMPLETED", "completed"): 3, ("FAILED", "oom"): 1}, "max_trials reached", ("a note",)
    )
    assert report.lines() == [
        "Search ended: max_trials reached",
        "Trials:   4 (3 completed, 1 failed: oom)",
        "Schedule: 3 units in 0:05 (no schedule beats 0:05), utilisation 73%",
        "  w0      1 unit   busy 0:02 (40%)  overhead 0:01  idle 0:02",
        "  w1      1 unit   busy 0:04 (80%)  overhead 0:00  idle 0:01",
        "  w10     1 unit   busy 0:05 (100%)  overhead 0:00  idle 0:00",
        "a note",
    ]
    assert str(report) == "\n".join(report.lines())


def test_report_of_a_search_that_did_nothing() -> None:
    report = ScheduleReport(schedule_summary([], ["w0"], 0.0, 0.0), {}, "interrupted")
    assert report.lines()[1] == "Trials:   none"
    assert "utilisation 0%" in report.lines()[2]


def test_saved_schedule_reads_back(tmp_path: Path) -> None:
    save_schedule(LOG, tmp_path / "schedule.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "schedule.jsonl").read_text().splitlines()]
    assert [row["worker"] for row in rows] == ["w0", "w1", "w0", "w10"]
    assert rows[0] | {"detail": None} == {
        **{"worker": "w0", "trial": "a&b", "phase": "train", "epoch": 0, "split": "train", "shard": 0, "attempt": 0},
        **{"started": 10.0, "finished": 12.0, "busy_seconds": 1.5, "outcome": "done", "detail": None},
    }
    assert rows[3]["shard"] is None
    assert [p.name for p in tmp_path.iterdir()] == ["schedule.jsonl"]


def test_timeline_is_well_formed_and_to_scale(tmp_path: Path) -> None:
    plot_timeline(LOG, tmp_path / "t.svg", width=1000)
    root = ElementTree.fromstring((tmp_path / "t.svg").read_text())
    groups = root.findall(f"{SVG}g")
    assert [g.findtext(f"{SVG}title") for g in groups][0] == "trial a&b: train epoch 1 on train 0, 2.00 s, done"
    widths = [float(g.findall(f"{SVG}rect")[0].get("width", "0")) for g in groups]
    assert widths == [364.0, 728.0, 182.0, 910.0]
    assert [r.get("class") for r in groups[2].findall(f"{SVG}rect")] == [None, "bad"]
    lanes = [t.text for t in root.findall(f"{SVG}text") if t.get("text-anchor") == "end"]
    assert lanes == ["w0", "w1", "w10"]


def test_timeline_of_nothing_is_still_a_picture() -> None:
    assert ElementTree.fromstring(timeline_svg([])).tag == f"{SVG}svg"


def test_one_of_each_is_said_in_the_singular() -> None:
    assert ">1 unit of 1 trial on 1 worker in 0:02<" in timeline_svg(LOG[:1])
    assert ">4 units of 3 trials on 3 workers in 0:05<" in timeline_svg(LOG)
    one = ScheduleReport(schedule_summary(LOG[:1], ["w0"], 10.0, 12.0), {}, "all is done")
    assert one.lines()[2].startswith("Schedule: 1 unit in 0:02")
