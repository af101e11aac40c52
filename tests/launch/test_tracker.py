"""--tracker and the card: a run from the command line tells of its course, and of itself at its end."""

import json

import yaml
from runs import command, metrics

TRACKER = """
import json

def start(folder, settings):
    file = open(f"{folder}/tracked.jsonl", "w")
    file.write(json.dumps({"net": settings["run"]["net"]}) + "\\n")
    return lambda numbers: print(json.dumps(numbers), file=file, flush=True)
"""


def test_a_run_calls_its_tracker_and_ends_with_a_card(tmp_path):
    (tmp_path / "my_module.py").write_text(TRACKER)
    flags = ("--net", "tinydarknet", "--max_steps", 3, "--run_dir", "run", "--tracker", "my_module:start")
    done = command("cellwright.launch.train", *flags, cwd=tmp_path, ranks=2)
    assert "in short in its README.md" in done.stdout
    first, *calls = [json.loads(line) for line in (tmp_path / "run" / "tracked.jsonl").read_text().splitlines()]
    assert first == {"net": "tinydarknet"}
    assert [call["train/loss"] for call in calls[:3]] == [record["loss"] for record in metrics(tmp_path / "run")]
    counted = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert calls[3]["eval/top1"] == counted["top1_correct"] / counted["total"] and len(calls) == 4

    card = (tmp_path / "run" / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["datasets"] == ["fashion_mnist"] and f"({counted['top1_correct']:,} of 1,000)" in card
    assert "launch.run -n 2 --config config.yaml" in card and "14,000 images trained on" in card
    assert (tmp_path / "run" / "curves.svg").stat().st_size > 1000


def test_a_tracker_that_is_not_there_is_one_line_and_leaves_no_folder(tmp_path):
    for named, message in (
        ("nothing", "must be MODULE:FUNCTION"),
        ("no_such_module:start", "No module named 'no_such_module'"),
        ("json:no_such", "json has no function no_such"),
    ):
        flags = ("--net", "tinydarknet", "--run_dir", tmp_path / "run", "--tracker", named)
        done = command("launch.train", *flags, check=False)
        assert done.returncode == 2 and f"--tracker {named}: " in done.stderr and message in done.stderr
        assert not (tmp_path / "run").exists()
