# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Percentiles of latencies."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed (nearest rank), to three decimals; values must not be empty."""
    ranked = sorted(values)
    return round(ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)], 3)
