# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The attributes of modules that read only, and of those that reach a state. A module that has more to say of one says it itself.

Its name is not "attributes": ansible-doc would then take `serving.triton.endpoint.attributes` for this.
"""

from __future__ import annotations


class ModuleDocFragment:
    READS = r"""
attributes:
  check_mode:
    description: Reads only, so check mode is the same.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
"""

    PLANS = r"""
attributes:
  check_mode:
    description: Predicts what would change without changing it.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
"""
