# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules that every file of the collection keeps. Each takes plain input and returns what is wrong, as readable lines."""
