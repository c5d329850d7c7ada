# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The documentation of the options that every module of a server shares."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  endpoint:
    description:
      - Where the service is reached. Every C(server_*) role of this collection sets the fact C(triton_endpoint) to such a mapping.
    type: dict
    required: true
    suboptions:
      http:
        description:
          - The URL of the HTTP service, with its base path if it has one, for example V(http://127.0.0.1:8000).
          - Without it, and without O(endpoint.replicas[].http), everything goes over gRPC, which needs C(tritonclient).
        type: str
      grpc:
        description: The address of the gRPC service, for example V(grpc://127.0.0.1:8001), or with scheme V(grpcs) for TLS.
        type: str
      metrics:
        description: The URL of the metrics. Not used by modules; taken so that the whole fact can be handed on.
        type: str
      headers:
        description:
          - Sent with every call, for example a token or the key of a restricted API.
          - Over gRPC each is sent as metadata under its own name, and under that name prefixed by C(triton-grpc-protocol-),
            which Triton's restricted protocols expect.
        type: dict
      tls:
        description: TLS for both protocols. The files lie on the machine that runs the module.
        type: dict
        suboptions:
          ca_file:
            description: PEM file of the authorities to trust instead of the system's.
            type: path
          cert_file:
            description: PEM file of the client's certificate, for mutual TLS.
            type: path
          key_file:
            description: PEM file of the client's private key, without a passphrase. Not needed when O(endpoint.tls.cert_file) holds it too.
            type: path
          validate_certs:
            description: Whether to check the server's certificate. gRPC cannot do without the check.
            type: bool
            default: true
          server_name:
            description: The name to expect in the server's certificate when it is not the host of the URL.
            type: str
      binary:
        description:
          - Whether tensors may go over HTTP as bytes. A gateway may not let them through, whatever the server behind it says.
          - The role C(server_eas) sets V(false).
        type: bool
        default: true
      replicas:
        description:
          - The servers behind the service. Models are loaded, and verified, on every one of them.
          - Without it the service is taken for one server.
        type: list
        elements: dict
        suboptions:
          name:
            description: How results and messages call the replica. Its number in the list when left out.
            type: str
          http:
            description: The URL of this server's HTTP service.
            type: str
          grpc:
            description: The address of this server's gRPC service.
            type: str
          metrics:
            description: The URL of this server's metrics.
            type: str
  timeout:
    description: Seconds that one call may take.
    type: float
    default: 30
  retries:
    description: How many times a call is repeated after a failure that may pass, such as a lost connection or a busy server.
    type: int
    default: 3
"""

    ATTRIBUTES = r"""
attributes:
  action_group:
    description: Use C(group/serving.triton.server) in C(module_defaults) to set options for every module of the group.
    support: full
    membership:
      - serving.triton.server
"""
