"""`python benchmarks/run.py` from anywhere is `python -m benchmarks` at the top of the repository."""

import runpy
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)
runpy.run_module("benchmarks", run_name="__main__", alter_sys=True)
