import re
import subprocess
import sys
from pathlib import Path

from cellwright.launch.settings.embedded_images import embedded_dataset

ROOT = Path(__file__).parents[2]


def test_the_example_of_the_readme_runs(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len([line for line in example.splitlines() if line and not line.startswith(("import", "from"))]) <= 15
    data = embedded_dataset(tmp_path)
    example = example.replace("/data/flowers", str(data))
    # Small enough for a test: the quickest net, small images, five steps.
    for long, short in (
        ('"genet", extra=True, mlp=True', '"tinydarknet"'),
        ("image_size=64", "image_size=32"),
        ("EvalTransform(64)", "EvalTransform(32)"),
        ("range(10)", "range(1)"),
        (
            "for batch, labels, weights in train.epoch(epoch):",
            "for _, (batch, labels, weights) in zip(range(5), train.epoch(epoch)):",
        ),
    ):
        assert long in example
        example = example.replace(long, short)
    program = tmp_path / "program.py"
    program.write_text(example, encoding="utf-8")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    epoch, loss, top1 = done.stdout.split()
    assert epoch == "0" and 0 < float(loss) < 5 and 0 <= float(top1) <= 1
    assert (tmp_path / "flowers.ckpt").stat().st_size > 1e6
