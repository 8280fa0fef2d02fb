"""The accumulator model reproduces results recorded on an H200, bit for bit."""

from pathlib import Path

import numpy as np
import pytest

from hwsim.base.errors import InputError
from hwsim.peers.silicon import (
    ADDED,
    IN_CORE,
    NATIVE,
    SLICE,
    compare,
    golden_instruction,
    other_models,
    recordings,
    replay,
)
from hwsim.reports import silicon as report

WHOLE = Path(__file__).parents[2].parent / "shared" / "silicon"
FOLDER = WHOLE if WHOLE.exists() else SLICE


@pytest.mark.parametrize("folder", sorted({SLICE, FOLDER}), ids=lambda p: p.parent.name)
def test_every_recorded_result_is_reproduced(folder):
    rows = compare(folder, {"golden": golden_instruction})
    assert {(r.format, r.kind, r.chaining) for r in rows} == {
        (format, kind, chaining)
        for format in ("fp16", "bf16", "e4m3", "e5m2")
        for kind in ("normal", "wide", "cancel")
        for chaining in ((IN_CORE,) if format in ("fp16", "bf16") else (ADDED, NATIVE))
    }
    wrong = [row for row in rows if row.mismatches["golden"]]
    assert not wrong


@pytest.mark.skipif(not WHOLE.exists(), reason="the whole recordings are not here")
def test_the_whole_recordings_are_589824_results():
    assert sum(r.d.size for r in recordings(WHOLE)) == 589_824


@pytest.mark.parametrize("name", other_models())
@pytest.mark.parametrize("format", ["fp16", "bf16", "e4m3", "e5m2"])
def test_another_parameter_is_noticed(name, format):
    run = other_models()[name]
    wrong = sum(np.count_nonzero(replay(r, run) != r.d) for r in recordings(SLICE) if r.format == format)
    assert wrong > 0


def test_no_recorded_zero_is_negative():
    assert not any((r.d == 1 << 31).any() for r in recordings(FOLDER))


def test_the_report_counts_every_model(tmp_path):
    def flipped(a, b, c, format):
        d = golden_instruction(a, b, c, format)
        d[0, 0, 0] ^= 1
        return d

    report.write(tmp_path, tmp_path, SLICE, {"golden": golden_instruction, "flipped": flipped})
    text = (tmp_path / "silicon.md").read_text()
    results = sum(r.d.size for r in recordings(SLICE))
    assert f"**golden: {results} results compared, 0 mismatches.**" in text
    assert "flipped: " in text and f"flipped: {results} results compared, 0" not in text


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no recordings in 0 \.npz files"):
        compare(tmp_path, {})
    np.savez(tmp_path / "part.npz", fp16_wide_k16_d=np.zeros((1, 1, 1), np.uint32))
    with pytest.raises(InputError, match="no array 'fp16_wide_k16_a' beside 'fp16_wide_k16_d'"):
        compare(tmp_path, {"golden": golden_instruction})
