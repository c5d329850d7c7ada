# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measurements against peers, each in one run on one machine: `python -m benchmarks [NAME…]`. docs/benchmarks.md explains them."""

from __future__ import annotations

import sys
from pathlib import Path

# The tests' real servers and playbook runner serve here too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
