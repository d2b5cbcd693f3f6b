"""What perf, bpftrace and gdb can watch: the probes that docs/performance.md names are in the program."""
import os
import re
import subprocess

import pytest

from harness import HERE, UPSTREAM


@pytest.mark.skipif(UPSTREAM, reason="upstream has none")
def test_documented_probes():
    notes = subprocess.run(["readelf", "-n", os.environ["SLIMROUTER_BIN"]], capture_output=True, text=True, check=True).stdout
    there = set(re.findall(r"Provider: slimrouter\s+Name: (\w+)", notes))
    page = (HERE.parent.parent / "docs" / "performance.md").read_text()
    told = set(re.findall(r"`((?:message|link)_\w+)`", page))
    assert there == told and len(told) >= 7
