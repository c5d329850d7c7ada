# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who asks, and whether they may: bearer tokens, client certificates, and the roles that are in the store."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ApiError
from .resources import Resource
from .store import Store

MASTERS = "system:masters"
_RBAC = "rbac.authorization.k8s.io"
# What is told to those who do not say who they are.
_OPEN = ("healthz", "livez", "readyz", "version")
_EVERYBODY = ("authentication.k8s.io", "authorization.k8s.io")


@dataclass(frozen=True)
class User:
    name: str
    groups: Sequence[str] = ()


@dataclass(frozen=True)
class Attributes:
    """What is asked for. path: of what is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Access:
    """tokens: token → user."""

    def __init__(self, store: Store) -> None:
        self.tokens: dict[str, User] = {}
        self._store = store

    def token(self, name: str, *groups: str) -> str:
        """A new token of a user. A long one: Ansible masks every occurrence of it in its output."""
        token = f"token-{secrets.token_hex(16)}"
        self.tokens[token] = User(name, (*groups, "system:authenticated"))
        return token

    def account_token(self, namespace: str, name: str) -> str:
        """A new token of a ServiceAccount."""
        return self.token(f"system:serviceaccount:{namespace}:{name}", "system:serviceaccounts", f"system:serviceaccounts:{namespace}")

    def user(self, headers: Mapping[str, str], certificate: Mapping[str, Any] | None) -> User:
        """Raises ApiError (401)."""
        scheme, _space, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip() in self.tokens:
            return self.tokens[token.strip()]
        if certificate and not scheme:
            names = [(key, value) for part in certificate["subject"] for key, value in part]
            groups = [value for key, value in names if key == "organizationName"]
            return User(next(value for key, value in names if key == "commonName"), (*groups, "system:authenticated"))
        if scheme:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return User("system:anonymous", ("system:unauthenticated",))

    # --- authorization

    def check(self, user: User, asked: Attributes, resource: Resource | None) -> None:
        """Raises ApiError (403)."""
        if self.allowed(user, asked):
            return
        if resource is None:
            raise ApiError(403, "Forbidden", f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"')
        qualified = f"{resource.qualified}" + (f' "{asked.name}"' if asked.name else "")
        where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
        group = f'in API group "{asked.group}"'
        told = f'User "{user.name}" cannot {asked.verb} resource "{asked.resource}" {group} {where}'
        details = {"name": asked.name, "group": asked.group, "kind": resource.plural}
        raise ApiError(403, "Forbidden", f"{qualified} is forbidden: {told}", details)

    def allowed(self, user: User, asked: Attributes) -> bool:
        known = "system:unauthenticated" not in user.groups
        if MASTERS in user.groups or (known and asked.group in _EVERYBODY):
            return True
        if asked.path:
            return asked.verb == "get" and (known or asked.path.strip("/") in _OPEN)
        return any(_covers(rule, asked) for rule in self._rules(user, asked.namespace))

    def _rules(self, user: User, namespace: str) -> Iterator[Mapping[str, Any]]:
        bindings = [(each, None) for each in self._store.all((_RBAC, "clusterrolebindings"))]
        bindings += [(each, namespace) for each in self._store.all((_RBAC, "rolebindings"), namespace)] if namespace else []
        for binding, where in bindings:
            if not any(_is_subject(each, user) for each in binding.get("subjects") or []):
                continue
            reference = binding["roleRef"]
            plural, inside = ("roles", where) if reference["kind"] == "Role" else ("clusterroles", None)
            role = self._store.get((_RBAC, plural), inside, reference["name"])
            yield from (role or {}).get("rules") or []


def _is_subject(subject: Mapping[str, Any], user: User) -> bool:
    if subject["kind"] == "ServiceAccount":
        return user.name == f"system:serviceaccount:{subject.get('namespace')}:{subject['name']}"
    return subject["name"] in (user.groups if subject["kind"] == "Group" else (user.name,))


def _covers(rule: Mapping[str, Any], asked: Attributes) -> bool:
    def holds(name: str, value: str) -> bool:
        return bool({"*", value} & set(rule.get(name) or []))

    resources = set(rule.get("resources") or [])
    subresource = asked.resource.partition("/")[2]
    named = holds("resources", asked.resource) or (subresource and f"*/{subresource}" in resources)
    names = rule.get("resourceNames")
    return holds("verbs", asked.verb) and holds("apiGroups", asked.group) and bool(named) and (not names or asked.name in names)
