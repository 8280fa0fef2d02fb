"""The examples run."""

import importlib.util
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_the_hook_for_torch():
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "torch_hook.py"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    levels = {line.split(":")[0]: float(line.split()[1]) for line in done.stdout.splitlines()}
    assert levels["nvfp4"] > levels["mxfp4"] > 10
