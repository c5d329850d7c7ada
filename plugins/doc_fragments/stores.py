# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The documentation of the options that every module shares that opens a store: module_utils/stores/options.py."""

from __future__ import annotations


class ModuleDocFragment:
    # For modules that open any store: all of these fragments.
    DOCUMENTATION = r"""
options:
  s3:
    description:
      - What C(s3://) needs beside the URL. Without it, credentials and region come from boto3's own chain, the environment, the files in
        C(~/.aws), web identity (IRSA), the container or the instance.
      - Secrets are better kept out of playbooks, in a profile, in the machine's environment or in Ansible Vault. The keyword C(environment)
        of a task puts them on the target's command lines.
    type: dict
    suboptions:
      profile:
        description: Profile of C(~/.aws/config). E(AWS_PROFILE) when left out.
        type: str
      region:
        description: Region of the bucket. E(AWS_REGION), E(AWS_DEFAULT_REGION) or the profile's when left out.
        type: str
      access_key:
        description: Access key id. E(AWS_ACCESS_KEY_ID) or the credential chain when left out.
        type: str
      secret_key:
        description: Secret of O(s3.access_key). E(AWS_SECRET_ACCESS_KEY) or the credential chain when left out.
        type: str
      session_token:
        description: Token of temporary credentials. E(AWS_SESSION_TOKEN) or the credential chain when left out.
        type: str
      role_arn:
        description: Role to assume with the credentials found. E(AWS_ROLE_ARN), with web identity alone, when left out.
        type: str
      external_id:
        description: External id that the trust policy of O(s3.role_arn) asks for.
        type: str
      web_identity_token_file:
        description:
          - File with a token of the identity provider, with which O(s3.role_arn) is assumed. E(AWS_WEB_IDENTITY_TOKEN_FILE), which
            Kubernetes sets for a service account (IRSA), when left out.
        type: path
      addressing_style:
        description: How the bucket is named, in the V(path) of requests or V(virtual) in their host. V(auto) takes what the endpoint suits.
        type: str
        choices: [auto, path, virtual]
        default: auto
      encryption:
        description: Encryption by the server that objects are written with. The bucket's own setting when left out.
        type: str
        choices: [AES256, "aws:kms", "aws:kms:dsse"]
      kms_key_id:
        description: Key for O(s3.encryption), an id, an alias or an ARN. The account's default key when left out.
        type: str
      storage_class:
        description: Storage class of written objects, such as V(STANDARD_IA). The store's default when left out.
        type: str
      tags:
        description: Tags of written objects.
        type: dict
      requester_pays:
        description: Whether to agree to pay for requests to somebody else's bucket.
        type: bool
        default: false
      checksum:
        description:
          - The checksum that the store verifies of each upload, V(md5), which every S3-compatible server checks or ignores, or V(crc32).
          - V(auto) takes what the endpoint is known to accept.
        type: str
        choices: [auto, md5, crc32]
        default: auto
  gcs:
    description: What C(gs://) needs beside the URL. Without it, Google's application default credentials are used.
    type: dict
    suboptions:
      project:
        description: Project that pays for the requests, for buckets whose requesters pay. That of the bucket when left out.
        type: str
      endpoint:
        description: URL to use instead of Google's, for an emulator or a private endpoint. E(STORAGE_EMULATOR_HOST) when left out.
        type: str
      credentials_file:
        description: File with a service account's key or a workload identity's configuration. E(GOOGLE_APPLICATION_CREDENTIALS), then
          what the machine is given, when left out.
        type: path
      anonymous:
        description: Whether to use no credentials, for public buckets and emulators.
        type: bool
        default: false
      storage_class:
        description: Storage class of written objects, such as V(NEARLINE). The bucket's when left out.
        type: str
      kms_key_name:
        description: Resource name of the key that objects are encrypted with. The bucket's own setting when left out.
        type: str
  azure:
    description:
      - What C(as://) needs beside the URL. One way to prove who you are is enough.
      - Without any, C(azure-identity), where it is installed, finds a managed identity, a workload identity or the login of C(az).
    type: dict
    suboptions:
      endpoint:
        description: URL of the account's blob service instead of C(https://ACCOUNT.blob.core.windows.net), for other clouds and emulators.
        type: str
      account_key:
        description: Key of the storage account. E(AZURE_STORAGE_KEY) when left out.
        type: str
      sas_token:
        description: Shared access signature. E(AZURE_STORAGE_SAS_TOKEN) when left out.
        type: str
      connection_string:
        description: Connection string, which holds endpoint and key.
        type: str
      access_tier:
        description: Access tier of written blobs. The account's when left out.
        type: str
        choices: [Hot, Cool, Cold]
"""

    OSS = r"""
options:
  oss:
    description:
      - What C(oss://) needs beside the URL. Without it, credentials come from the environment.
      - Without any, C(alibabacloud-credentials), where it is installed, finds a role of OIDC, a profile or a role of the machine.
    type: dict
    suboptions:
      profile:
        description: Profile of the Alibaba Cloud CLI, in C(~/.aliyun/config.json).
        type: str
      region:
        description: Region of the bucket, such as V(cn-hangzhou). E(OSS_REGION) when left out.
        type: str
      endpoint:
        description: Endpoint to use instead of the region's. E(OSS_ENDPOINT) when left out.
        type: str
      internal:
        description: Whether to use the region's internal endpoint, which is reached and free of charge inside of that region alone.
        type: bool
        default: false
      access_key_id:
        description: Access key id. E(OSS_ACCESS_KEY_ID) when left out.
        type: str
      access_key_secret:
        description: Secret of O(oss.access_key_id). E(OSS_ACCESS_KEY_SECRET) when left out.
        type: str
      security_token:
        description: Token of temporary (STS) credentials. E(OSS_SESSION_TOKEN) when left out.
        type: str
      signature_version:
        description: Version of the request signature.
        type: str
        choices: [v1, v4]
        default: v4
      storage_class:
        description: Storage class of written objects, such as V(IA). The bucket's when left out.
        type: str
      encryption:
        description: Encryption by the server that objects are written with. The bucket's own setting when left out.
        type: str
        choices: [AES256, KMS]
      kms_key_id:
        description: Key for O(oss.encryption=KMS). The service's default key when left out.
        type: str
"""

    CALLS = r"""
options:
  timeout:
    description: Seconds for a connection to an object store, and for each of its answers.
    type: float
    default: 60.0
  attempts:
    description: How many times in all a request to an object store is made before a failure that may pass, such as throttling, is final.
    type: int
    default: 6
  validate_certs:
    description: Whether to check the certificates of object stores.
    type: bool
    default: true
  ca_path:
    description: PEM file of the authorities to trust instead of the system's. E(AWS_CA_BUNDLE), for C(s3://), when left out.
    type: path
"""
