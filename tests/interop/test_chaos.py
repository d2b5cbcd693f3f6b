"""One of each disturbance of `./dev chaos`."""
import os
import pathlib
import subprocess
import sys

import pytest

from harness import UPSTREAM
from test_slimbench import slimbench

CHAOS = pathlib.Path(__file__).parent.parent / "chaos" / "chaos.py"


@pytest.mark.skipif(UPSTREAM, reason="kills and restarts our node")
@pytest.mark.timeout(300)
def test_one_of_each_disturbance(folder):
    done = subprocess.run([sys.executable, str(CHAOS), "--each-once", "--folder", str(folder / "chaos")], capture_output=True, text=True,
                          timeout=280, env={**os.environ, "SLIMBENCH_BIN": slimbench()})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
