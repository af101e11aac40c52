"""The ledger: agrees with itself over workers, ranks and resumes, and names the first batch that differs."""

from pathlib import Path

import pytest

from cellwright.dataloader import ImageFolder, Ledger, LedgerMismatch, Loader, TrainTransform
from cellwright.dataloader.ledger import read_ledger


def run(source, ledger, epochs=((0, 0), (1, 0)), seed=3, **settings):
    with Loader(source, 8, TrainTransform(24), seed=seed, tail="wrap", ledger=ledger, **settings) as loader:
        for epoch, start in epochs:
            for _ in loader.epoch(epoch, start):
                pass
    ledger.close()


@pytest.fixture
def written(folder, tmp_path):
    source, path = ImageFolder(folder), str(tmp_path / "ledger.csv")
    run(source, Ledger(path), workers=1)
    assert len(read_ledger(path)) == 10
    return source, path


def test_ledgers_agree_over_workers_ranks_and_resumes(written, tmp_path):
    source, path = written
    run(source, Ledger(verify=path), workers=3, epochs=((1, 3), (0, 2), (1, 0)))
    for rank in range(2):
        ledger = Ledger(str(tmp_path / f"rank{rank}.csv"), rank=rank, size=2)
        run(source, ledger, workers=2, rank=rank, size=2)
    both = read_ledger(str(tmp_path / "rank*.csv"))
    one = read_ledger(path)
    assert {key: both[key] for key in one} == one


def test_a_difference_is_named(written):
    source, path = written
    with pytest.raises(LedgerMismatch, match="epoch 0, batch 0: digest"):
        run(source, Ledger(verify=path), workers=1, seed=4)
    changed = Path(path).read_text().splitlines()
    changed[4] = changed[4][:-1] + "x"
    Path(path).write_text("\n".join(changed) + "\n")
    with pytest.raises(LedgerMismatch, match="epoch 0, batch 3"):
        run(source, Ledger(verify=path), workers=1)


def test_what_is_no_ledger_is_refused(tmp_path):
    (tmp_path / "a").write_text("epoch,batch,digest\nzero,1,ab\n")
    with pytest.raises(ValueError, match="a:2: "):
        read_ledger(str(tmp_path / "a"))
    with pytest.raises(ValueError, match="no ledger"):
        read_ledger(str(tmp_path / "none"))
