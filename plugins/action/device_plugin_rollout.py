# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module of the same name, and says how far it is while that takes long."""

from __future__ import annotations

from ansible_collections.serving.triton.plugins.plugin_utils.watched import WatchedAction


class ActionModule(WatchedAction):
    doing = "waiting"
