# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What helm and kubectl write as protobuf, as the JSON that it means. Fields that are not in the table are ignored.

Clients that may send protobuf accept JSON in answers, so nothing is encoded.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message, message_factory

from .errors import ApiError, bad_request

MAGIC = b"k8s\x00"
# message: fields as NUMBER:NAME:TYPE. TYPE: str, bytes, int, bool, another message; [TYPE] is repeated, {TYPE} a map from strings.
# From the .proto files of k8s.io/api and k8s.io/apimachinery.
_MESSAGES = """
Unknown: 1:typeMeta:TypeMeta 2:raw:bytes
TypeMeta: 1:apiVersion:str 2:kind:str
Time: 1:seconds:int 2:nanos:int
ObjectMeta: 1:name:str 2:generateName:str 3:namespace:str 5:uid:str 6:resourceVersion:str 7:generation:int 10:deletionGracePeriodSeconds:int
  11:labels:{str} 12:annotations:{str} 13:ownerReferences:[OwnerReference] 14:finalizers:[str]
OwnerReference: 1:kind:str 3:name:str 4:uid:str 5:apiVersion:str 6:controller:bool 7:blockOwnerDeletion:bool
LocalObjectReference: 1:name:str
Secret: 1:metadata:ObjectMeta 2:data:{bytes} 3:type:str 4:stringData:{str} 5:immutable:bool
ConfigMap: 1:metadata:ObjectMeta 2:data:{str} 3:binaryData:{bytes} 4:immutable:bool
Namespace: 1:metadata:ObjectMeta 2:spec:NamespaceSpec 3:status:NamespaceStatus
NamespaceSpec: 1:finalizers:[str]
NamespaceStatus: 1:phase:str
ServiceAccount: 1:metadata:ObjectMeta 3:imagePullSecrets:[LocalObjectReference] 4:automountServiceAccountToken:bool
DeleteOptions: 1:gracePeriodSeconds:int 2:preconditions:Preconditions 3:orphanDependents:bool 4:propagationPolicy:str 5:dryRun:[str]
Preconditions: 1:uid:str 2:resourceVersion:str
Scale: 1:metadata:ObjectMeta 2:spec:ScaleSpec
ScaleSpec: 1:replicas:int
Eviction: 1:metadata:ObjectMeta 2:deleteOptions:DeleteOptions
SelfSubjectAccessReview: 1:metadata:ObjectMeta 2:spec:AccessReviewSpec
AccessReviewSpec: 1:resourceAttributes:ResourceAttributes 2:nonResourceAttributes:NonResourceAttributes
ResourceAttributes: 1:namespace:str 2:verb:str 3:group:str 4:version:str 5:resource:str 6:subresource:str 7:name:str
NonResourceAttributes: 1:path:str 2:verb:str
SelfSubjectRulesReview: 1:metadata:ObjectMeta 2:spec:RulesReviewSpec
RulesReviewSpec: 1:namespace:str
SelfSubjectReview: 1:metadata:ObjectMeta
TokenRequest: 1:metadata:ObjectMeta 2:spec:TokenRequestSpec
TokenRequestSpec: 1:audiences:[str] 4:expirationSeconds:int
"""
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"str": _FIELD.TYPE_STRING, "bytes": _FIELD.TYPE_BYTES, "int": _FIELD.TYPE_INT64, "bool": _FIELD.TYPE_BOOL}


def decode(body: bytes) -> dict[str, Any]:
    """The object of a body that begins with MAGIC. Raises ApiError."""
    try:
        unknown = _message("Unknown")()
        unknown.ParseFromString(body[len(MAGIC) :])
        kind = unknown.typeMeta.kind
        if f"\n{kind}:" not in _MESSAGES:
            raise ApiError(415, "UnsupportedMediaType", f"the stand-in does not read a {kind} as protobuf; its table is in protobuf.py")
        value = _message(kind)()
        value.ParseFromString(unknown.raw)
    except message.DecodeError as error:
        raise bad_request(f"the body is not protobuf: {error}") from error
    decoded = _numbers(_message(kind).DESCRIPTOR, json_format.MessageToDict(value))
    return {"apiVersion": unknown.typeMeta.apiVersion, "kind": kind, **_without_empty(decoded)}


def _without_empty(value: Any) -> Any:
    """Go writes fields that are empty; JSON would not have them. Values of maps stay."""
    if isinstance(value, dict):
        return {name: _without_empty(each) for name, each in value.items() if each not in ({}, [])}
    return value


def _numbers(descriptor: Any, value: dict[str, Any]) -> dict[str, Any]:
    """protobuf writes 64 bit integers as text, and explicit empty strings for Go's absent ones."""
    kept: dict[str, Any] = {}
    for name, each in value.items():
        field = descriptor.fields_by_name[name]
        if field.type == _FIELD.TYPE_INT64:
            kept[name] = int(each)
        elif field.type == _FIELD.TYPE_MESSAGE and isinstance(each, dict) and not field.message_type.GetOptions().map_entry:
            kept[name] = _numbers(field.message_type, each)
        elif each != "":
            kept[name] = each
    return kept


@functools.lru_cache(maxsize=1)
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="kubernetes.proto", package="k", syntax="proto2")
    for line in _MESSAGES.replace("\n  ", " ").strip().splitlines():
        name, _colon, rest = line.partition(": ")
        made = file.message_type.add(name=name)
        for each in rest.split():
            number, field, kind = each.split(":")
            _add_field(made, int(number), field, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(made: descriptor_pb2.DescriptorProto, number: int, name: str, kind: str) -> None:
    inner = kind.strip("[]{}")
    field = made.field.add(
        name=name, number=number, json_name=name, label=_FIELD.LABEL_REPEATED if inner != kind else _FIELD.LABEL_OPTIONAL
    )
    if kind.startswith("{"):
        entry = made.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        for place, (part, scalar) in enumerate((("key", "str"), ("value", inner)), 1):
            entry.field.add(name=part, number=place, type=_SCALARS[scalar], label=_FIELD.LABEL_OPTIONAL)
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".k.{made.name}.{entry.name}"
    elif inner in _SCALARS:
        field.type = _SCALARS[inner]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".k.{inner}"


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"k.{name}"))
