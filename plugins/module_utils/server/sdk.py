# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Libraries that only some calls need are imported when they are needed; a missing one is explained as Ansible's modules do."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

# Import name → what to install.
_PACKAGES = {
    "numpy": "numpy",
    "PIL": "Pillow",
    "tritonclient": "tritonclient[grpc,http]",
    "grpc": "tritonclient[grpc]",
    "google": "tritonclient[grpc]",
}


@contextmanager
def explain_missing(module: AnsibleModule) -> Iterator[None]:
    """Ends the module with missing_required_lib's text when a library of ours is not installed."""
    try:
        yield
    except (ImportError, RuntimeError) as error:
        # tritonclient turns the missing parts of an incomplete installation into RuntimeError.
        cause = error if isinstance(error, ImportError) else error.__cause__
        package = _PACKAGES.get(str(getattr(cause, "name", "") or "").partition(".")[0])
        if package is None and "tritonclient" not in str(error):
            raise
        message = missing_required_lib(package or "tritonclient[grpc,http]", url="https://pypi.org/project/tritonclient/")
        module.fail_json(msg=message, exception=traceback.format_exc())
