# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The documentation of the options that the modules for EAS share: module_utils/eas/options.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  backend:
    description:
      - How to talk to EAS. V(openapi) uses Alibaba Cloud's SDK for Python, V(eascmd) the command line client of that name.
      - V(auto) takes the client where O(eascmd_path) or O(eascmd_config) is given, else the SDK where it is installed, else the client
        where it is found. RV(ignore:backend) and
        RV(ignore:backend_reason) tell which.
    type: str
    choices: [auto, openapi, eascmd]
    default: auto
  eascmd_path:
    description: The client's executable. C(eascmd), then C(eascmd64), on the path when left out.
    type: path
  eascmd_config:
    description:
      - Configuration that C(eascmd config) has written, with its endpoint and keys. Used instead of the options for them.
      - C(~/.eas/config), when left out, where it is there and neither options nor environment name an endpoint, a region, keys or where
        to find them.
    type: path
  region:
    description:
      - Region of the service, such as V(cn-shanghai).
      - What O(endpoint) names, E(EAS_REGION), or E(ALIBABA_CLOUD_REGION_ID), when left out.
    type: str
  endpoint:
    description:
      - Host or URL of EAS's API. That of O(region), C(pai-eas.REGION.aliyuncs.com), when left out.
      - E(EAS_ENDPOINT) is used where O(region) is left out too.
      - From inside of a VPC it is C(pai-eas-manage-vpc.REGION.aliyuncs.com).
    type: str
  access_key_id:
    description: AccessKey ID. E(ALIBABA_CLOUD_ACCESS_KEY_ID), then the chain of C(alibabacloud-credentials), when left out.
    type: str
  access_key_secret:
    description:
      - Secret of O(access_key_id), and needed with it.
      - E(ALIBABA_CLOUD_ACCESS_KEY_SECRET) when both are left out; all three come from the environment together.
    type: str
  security_token:
    description:
      - Token of temporary (STS) credentials, with O(access_key_id) and O(access_key_secret).
      - E(ALIBABA_CLOUD_SECURITY_TOKEN) where those two come from the environment.
    type: str
  profile:
    description: Profile of the Alibaba Cloud CLI, in C(~/.aliyun/config.json).
    type: str
  role_arn:
    description:
      - RAM role to assume, with the credentials found, or with a token of O(oidc_provider_arn).
      - E(ALIBABA_CLOUD_ROLE_ARN), with OIDC alone, when left out.
    type: str
  oidc_provider_arn:
    description:
      - Identity provider whose token in O(oidc_token_file) is exchanged for O(role_arn).
      - E(ALIBABA_CLOUD_OIDC_PROVIDER_ARN) when left out.
    type: str
  oidc_token_file:
    description: File with the token of O(oidc_provider_arn). E(ALIBABA_CLOUD_OIDC_TOKEN_FILE) when left out.
    type: path
  ecs_role:
    description: RAM role of the ECS instance to use. Found by the chain when left out.
    type: str
  timeout:
    description: Seconds that one call may take.
    type: float
    default: 60.0
  attempts:
    description: How many times in all a call is made before a failure that may pass, such as throttling, is final.
    type: int
    default: 6
  validate_certs:
    description: Whether to check EAS's certificate. Only for O(backend=openapi).
    type: bool
    default: true
  ca_path:
    description:
      - PEM file of the authorities to trust instead of the system's. E(REQUESTS_CA_BUNDLE) when left out.
      - Only for O(backend=openapi).
    type: path
"""

    SHOWN = r"""
options:
  access:
    description:
      - Which address of the service goes into RV(ignore:triton_endpoint), that on the V(internet) or that in the VPC, V(intranet).
      - V(auto) takes the internet's where the service has one.
    type: str
    choices: [auto, internet, intranet]
    default: auto
  return_token:
    description:
      - Whether RV(ignore:token) and RV(ignore:triton_endpoint) hold the service's token. Set C(no_log) on the task with it.
      - Without it the token is masked, as every other secret always is.
    type: bool
    default: false
"""

    ATTRIBUTES = r"""
attributes:
  action_group:
    description: Use C(group/serving.triton.eas) in C(module_defaults) to set options for every module of the group.
    support: full
    membership:
      - serving.triton.eas
"""
