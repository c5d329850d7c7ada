# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bars of seconds, one group a set, as SVG. The scale is logarithmic: the slowest takes a hundred times as long as the fastest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

_COLOURS = ("#1b6ca8", "#c0504d", "#7f7f7f", "#9bbb59", "#8064a2", "#f79646")
_LEFT, _WIDTH, _BAR, _GAP = 190, 560, 15, 14


def draw(results: Mapping[str, Mapping[str, float]], title: str) -> str:
    """results: set → who → seconds."""
    least = min(value for each in results.values() for value in each.values())
    most = max(value for each in results.values() for value in each.values())
    low, high = math.floor(math.log10(max(least, 0.001))), math.ceil(math.log10(most))
    names = list(dict.fromkeys(name for each in results.values() for name in each))
    parts, top = [], 40
    for group, each in results.items():
        parts.append(f'<text x="10" y="{top + 12}" font-weight="bold">{escape(group)}</text>')
        for name, value in each.items():
            width = max(2.0, _WIDTH * (math.log10(max(value, 0.001)) - low) / (high - low or 1))
            colour = _COLOURS[names.index(name) % len(_COLOURS)]
            parts.append(f'<text x="{_LEFT - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="{_LEFT}" y="{top}" width="{width:.0f}" height="{_BAR - 3}" fill="{colour}"/>')
            parts.append(f'<text x="{_LEFT + width + 5:.0f}" y="{top + 11}">{value:.2f} s</text>')
            top += _BAR
        top += _GAP
    size = f'width="{_LEFT + _WIDTH + 90}" height="{top + 10}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return f'{head}<rect width="100%" height="100%" fill="white"/><text x="10" y="20">{escape(title)}</text>{"".join(parts)}</svg>\n'
