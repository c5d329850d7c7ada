# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the Kubernetes stand-in merges: the three patches, and server-side apply with its owners."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kubernetes import fields, ownership, patches
from support.kubernetes.errors import ApiError
from support.kubernetes.ownership import Owner
from support.kubernetes.resources import Registry
from support.kubernetes.schemas import Schema, Schemas

SCHEMAS = Schemas("1.36")
HELM, KUBECTL = Owner("helm", "Apply", "apps/v1"), Owner("kubectl", "Apply", "apps/v1")
SCALER = Owner("kubectl", "Update", "apps/v1", "scale")


def schema_of(api_version: str, kind: str) -> Schema:
    resource = Registry(SCHEMAS.has).of_kind(api_version, kind)
    assert resource
    return SCHEMAS.of(resource)


DEPLOYMENT, SERVICE = schema_of("apps/v1", "Deployment"), schema_of("v1", "Service")


def deployment(*containers: dict[str, Any], replicas: int | None = None, **labels: str) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": list(containers)}}, **({"replicas": replicas} if replicas is not None else {})}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": labels}, "spec": spec}


def container(name: str, image: str = "a:1", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": image, **more}


def images(value: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["image"] for each in value["spec"]["template"]["spec"]["containers"]}


# --- patches


def test_a_merge_patch_replaces_lists_and_removes_by_null() -> None:
    value = {"a": {"b": 1, "c": 2}, "list": [1, 2]}
    assert patches.merge_patch(value, {"a": {"b": None, "d": 3}, "list": [3]}) == {"a": {"c": 2, "d": 3}, "list": [3]}
    assert value == {"a": {"b": 1, "c": 2}, "list": [1, 2]}


def test_a_json_patch_is_refused_when_its_test_fails() -> None:
    assert patches.json_patch({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}]) == {"a": [1, 2]}
    for operation in ({"op": "test", "path": "/a/0", "value": 9}, {"op": "remove", "path": "/zzz"}):
        with pytest.raises(ApiError) as caught:
            patches.json_patch({"a": [1]}, [operation])
        assert caught.value.code == 422


def test_a_strategic_merge_joins_containers_by_name() -> None:
    live = deployment(container("main", env=[{"name": "A", "value": "1"}]), container("side"))
    patch = {"spec": {"template": {"spec": {"containers": [container("main", "b:2", env=[{"name": "B", "value": "2"}])]}}}}
    merged = patches.strategic_merge(DEPLOYMENT, live, patch)
    assert images(merged) == {"main": "b:2", "side": "a:1"}
    assert [each["name"] for each in merged["spec"]["template"]["spec"]["containers"][0]["env"]] == ["A", "B"]


def test_strategic_directives_delete_replace_and_order() -> None:
    live = deployment(container("main"), container("side"))
    pods = {
        "containers": [{"name": "main", "$patch": "delete"}, container("new")],
        "$setElementOrder/containers": [{"name": "new"}, {"name": "side"}],
    }
    merged = patches.strategic_merge(DEPLOYMENT, live, {"spec": {"template": {"spec": pods}}})
    assert list(images(merged)) == ["new", "side"]
    replaced = patches.strategic_merge(DEPLOYMENT, live, {"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}})
    assert replaced["spec"]["strategy"] == {"type": "Recreate"}
    kept = patches.strategic_merge(DEPLOYMENT, {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}}}, {
        "spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
    })  # fmt: skip
    assert kept["spec"]["strategy"] == {"type": "Recreate"}


def test_strategic_lists_of_plain_values_unite() -> None:
    live = {"metadata": {"finalizers": ["a", "b"]}}
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}}
    assert patches.strategic_merge(DEPLOYMENT, live, patch)["metadata"]["finalizers"] == ["b", "c"]


def test_an_item_without_its_merge_key_is_refused() -> None:
    with pytest.raises(ApiError, match="merge key: name"):
        patches.strategic_merge(DEPLOYMENT, deployment(), {"spec": {"template": {"spec": {"containers": [{"image": "a"}]}}}})


# --- fields


def test_fields_survive_fields_v1() -> None:
    value = deployment(container("main", ports=[{"containerPort": 80}]), replicas=2, app="a")
    found = fields.owned_fields(DEPLOYMENT, value)
    assert fields.from_fields_v1(fields.to_fields_v1(found)) == found
    port = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"main"}', "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}')
    assert port in found
    assert fields.readable(port) == '.spec.template.spec.containers[name="main"].ports[containerPort=80,protocol="TCP"]'


def test_what_the_server_sets_is_nobodys() -> None:
    found = fields.owned_fields(DEPLOYMENT, {"kind": "Deployment", "metadata": {"name": "a", "uid": "1", "labels": {"a": "b"}}})
    assert found == {("f:metadata", "f:labels", "f:a")}


# --- server-side apply


def apply(live: dict[str, Any] | None, wanted: dict[str, Any], owner: Owner = HELM, *, force: bool = False) -> dict[str, Any]:
    new, owners = ownership.server_side_apply(DEPLOYMENT, live, wanted, owner, force=force)
    ownership.write(new, owners, "now")
    return new


def update(live: dict[str, Any], change: dict[str, Any], owner: Owner = SCALER) -> dict[str, Any]:
    new = patches.merge_patch(copy.deepcopy(live), change)
    ownership.write(new, ownership.after_update(DEPLOYMENT, live, new, ownership.read(live), owner), "now")
    return dict(new)


def test_an_applier_removes_what_it_no_longer_applies() -> None:
    live = apply(None, deployment(container("main"), container("side"), replicas=1, a="1", b="2"))
    live = apply(live, deployment(container("main"), a="1"))
    assert images(live) == {"main": "a:1"}
    assert live["metadata"]["labels"] == {"a": "1"}
    assert "replicas" not in live["spec"]


def test_what_others_own_stays_when_an_applier_drops_it() -> None:
    live = apply(None, deployment(container("main"), replicas=1))
    live = update(live, {"spec": {"replicas": 3}})
    live = apply(live, deployment(container("main")))
    assert live["spec"]["replicas"] == 3
    live = apply(live, deployment(container("side")), KUBECTL)
    assert images(apply(live, deployment(container("main")))) == {"main": "a:1", "side": "a:1"}


def test_a_changed_field_of_another_is_a_conflict() -> None:
    live = update(apply(None, deployment(container("main"), replicas=1)), {"spec": {"replicas": 3}})
    with pytest.raises(ApiError) as caught:
        apply(live, deployment(container("main"), replicas=1))
    told = 'Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas'
    assert caught.value.message == told
    assert caught.value.details["causes"][0]["reason"] == "FieldManagerConflict"
    forced = apply(live, deployment(container("main"), replicas=1), force=True)
    assert forced["spec"]["replicas"] == 1
    assert SCALER not in ownership.read(forced)


def test_the_same_value_is_shared_without_a_conflict() -> None:
    live = apply(apply(None, deployment(container("main"), replicas=2)), deployment(container("main"), replicas=2), KUBECTL)
    assert set(ownership.read(live)) == {HELM, KUBECTL}
    alone = apply(live, deployment(container("main")))
    assert alone["spec"]["replicas"] == 2


def test_applying_the_same_again_changes_nothing() -> None:
    wanted = deployment(container("main", ports=[{"containerPort": 80, "name": "http"}]), replicas=2, a="1")
    live = apply(None, wanted)
    assert apply(live, wanted) == live


def test_an_item_that_is_there_twice_is_found() -> None:
    twice = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    found = list(fields.duplicates(DEPLOYMENT, deployment(container("main", env=twice))))
    assert found == [('.spec.template.spec.containers[name="main"].env', '[name="A"]')]
    assert not list(fields.duplicates(DEPLOYMENT, deployment(container("main", env=twice[:1]), container("side"))))


def test_ports_are_keyed_by_number_and_protocol() -> None:
    ports = [{"port": 80, "name": "http"}]
    value = {"metadata": {"name": "a"}, "spec": {"ports": ports}}
    live, owners = ownership.server_side_apply(SERVICE, None, value, HELM, force=False)
    ownership.write(live, owners, "now")
    live["spec"]["ports"][0]["protocol"] = "TCP"  # A default of the server.
    renamed = {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80, "name": "web"}]}}
    new, _owners = ownership.server_side_apply(SERVICE, live, renamed, HELM, force=False)
    assert new["spec"]["ports"] == [{"port": 80, "name": "web", "protocol": "TCP"}]


CONTAINERS = st.lists(
    st.builds(
        lambda name, image, ports, env: container(
            name,
            image,
            ports=[{"containerPort": number, "protocol": "TCP"} for number in sorted(ports)],
            env=[{"name": key, "value": value} for key, value in sorted(env.items())],
        ),
        st.sampled_from("abcd"),
        st.sampled_from(["x:1", "x:2"]),
        st.sets(st.sampled_from([80, 81]), min_size=1),
        st.dictionaries(st.sampled_from("AB"), st.sampled_from("12"), min_size=1),
    ),
    min_size=1,
    unique_by=lambda each: each["name"],
)
DEPLOYMENTS = st.builds(
    lambda containers, labels, replicas: deployment(*containers, replicas=replicas, **labels),
    CONTAINERS,
    st.dictionaries(st.sampled_from("xy"), st.sampled_from("12"), min_size=1),
    st.sampled_from([None, 1, 2]),
)


@settings(deadline=None, max_examples=40)
@given(DEPLOYMENTS, DEPLOYMENTS)
def test_one_applier_gets_exactly_what_it_applies(first: dict[str, Any], second: dict[str, Any]) -> None:
    applied = apply(apply(None, first), second)
    assert _bare(applied) == second
    assert apply(applied, second) == applied
    assert ownership.read(applied) == {HELM: fields.owned_fields(DEPLOYMENT, second)}


@settings(deadline=None, max_examples=40)
@given(DEPLOYMENTS, DEPLOYMENTS)
def test_what_two_appliers_force_is_what_the_last_one_said(first: dict[str, Any], second: dict[str, Any]) -> None:
    both = apply(apply(None, first), second, KUBECTL, force=True)
    wanted = fields.owned_fields(DEPLOYMENT, second)
    assert all(fields.value_at(DEPLOYMENT, both, path) == fields.value_at(DEPLOYMENT, second, path) for path in wanted)
    alone = apply(both, {"metadata": {"name": "a"}}, HELM)
    assert fields.owned_fields(DEPLOYMENT, _bare(alone)) == wanted


def _bare(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "metadata": {name: each for name, each in value["metadata"].items() if name != "managedFields"}}
