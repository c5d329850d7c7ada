# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The linter's rules, one row each; docs/lint.md is held to this table by a test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ERROR, WARNING, INFO = "error", "warning", "info"
SEVERITIES = (ERROR, WARNING, INFO)
# What breaks: the server that loads the model, or the publishing of its files.
SERVER, PUBLISH = "server", "publish"


@dataclass(frozen=True)
class Rule:
    """severity: of every finding of this rule. breaks: SERVER or PUBLISH. remedy: what the user does next."""

    id: str
    severity: str
    breaks: str
    summary: str
    remedy: str


@dataclass(frozen=True)
class Finding:
    """model: its folder's name, empty for the repository. file: relative to the repository, empty where none is concerned."""

    model: str
    file: str
    rule: str
    severity: str
    message: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        return dict(vars(self))

    def __str__(self) -> str:
        place = self.file or self.model or "repository"
        return f"{self.severity}: {place}: {self.message} [{self.rule}]. {self.remedy}"


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """The gravest first, then by model, file and rule; each finding once."""
    return sorted(set(findings), key=lambda each: (SEVERITIES.index(each.severity), each.model, each.file, each.rule, each.message))


# A table: three lines a rule, which the formatter would make seven.
# fmt: off
_TABLE = (
    # --- layout
    Rule("repository-empty", ERROR, PUBLISH,
         "the repository holds no model",
         "Give the folder that holds one folder per model."),
    Rule("model-name", ERROR, PUBLISH,
         "a model's name has characters that some store or Triton cannot handle",
         "Rename the folder, and name in its config.pbtxt, with letters, digits, dot, dash and underscore only."),
    Rule("file-name", ERROR, PUBLISH,
         "a file's or folder's name has characters that some store cannot handle",
         "Rename it with letters, digits, dot, dash and underscore only."),
    Rule("folder-not-a-model", ERROR, SERVER,
         "a folder of the repository is no model; Triton takes every folder there for one and fails",
         "Move the folder out of the repository."),
    Rule("folder-hidden", WARNING, SERVER,
         "a hidden folder lies beside the models; a server that reads this repository fails on it, publishing leaves it out",
         "Publish the repository rather than serve it from here, or move the folder away."),
    Rule("link-escapes", ERROR, PUBLISH,
         "a symbolic link leads out of the repository",
         "Replace the link by the file or folder itself."),
    Rule("link-broken", ERROR, PUBLISH,
         "a symbolic link leads nowhere or back to a folder above it",
         "Remove the link."),
    Rule("junk-file", WARNING, PUBLISH,
         "a file or folder that does not belong in a model repository",
         "Delete it."),
    Rule("bytecode", INFO, PUBLISH,
         "Python's compiled code lies beside the model; Triton's python backend writes it where it may",
         "Delete it from a source that is published; in a repository that is served it does no harm."),
    Rule("folder-ignored", INFO, SERVER,
         "a folder of the model is neither a version nor one that Triton knows",
         "Move it into a version's folder, or out of the repository, unless the model's own code reads it."),
    # --- versions
    Rule("version-missing", ERROR, SERVER,
         "the model has no version folder",
         "Put the model's files into a folder named 1."),
    Rule("version-name", WARNING, SERVER,
         "a folder's name looks like a version, but Triton does not take it for one",
         "Rename it to a number without leading zeros."),
    Rule("version-misread", ERROR, SERVER,
         "Triton reads a folder's name as a version number whose folder does not exist, and fails or hangs",
         "Rename the folder so that its name does not begin with a number, or move it out of the model."),
    Rule("version-range", ERROR, SERVER,
         "a version number does not fit 64 bits; the server dies of it",
         "Renumber the version."),
    Rule("version-zero", WARNING, SERVER,
         "version 0 is loaded, although Triton's documentation says that it is ignored",
         "Renumber it from 1."),
    Rule("version-folder-empty", INFO, PUBLISH,
         "an ensemble's version folder is empty; git and object stores do not keep empty folders",
         "Put a small file into it, for instance .gitkeep."),
    Rule("version-policy", ERROR, SERVER,
         "the version policy selects no version that exists",
         "Correct version_policy, or add the version."),
    Rule("version-policy-missing", WARNING, SERVER,
         "the version policy names a version that does not exist",
         "Add the version, or remove it from the list."),
    # --- config.pbtxt
    Rule("config-syntax", ERROR, SERVER,
         "config.pbtxt cannot be parsed",
         "Correct the text at the given line and column."),
    Rule("config-folder", ERROR, SERVER,
         "config.pbtxt is a folder; the server dies of it",
         "Replace it by a file."),
    Rule("config-needed", WARNING, SERVER,
         "the model has no config.pbtxt, and its backend cannot derive inputs and outputs",
         "Write a config.pbtxt."),
    Rule("config-name", ERROR, SERVER,
         "name in config.pbtxt differs from the model's folder",
         "Make them equal, or remove name."),
    Rule("config-misplaced", WARNING, SERVER,
         "a configuration lies where Triton does not read it",
         "Move it to config.pbtxt in the model's folder (variants to configs/NAME.pbtxt)."),
    Rule("config-variant", WARNING, SERVER,
         "a variant in configs/ would fail when --model-config-name selects it",
         "Correct the variant."),
    Rule("config-new-field", WARNING, SERVER,
         "older servers refuse a field of the configuration",
         "Remove the field, or serve with the named version or later."),
    Rule("config-template", WARNING, SERVER,
         "a value is a template's variable that nobody filled in",
         "Fill in the template."),
    Rule("reference-escapes", ERROR, PUBLISH,
         "the configuration names a file outside of the model's folder",
         "Move the file into the model's folder."),
    Rule("max-batch-size", ERROR, SERVER,
         "max_batch_size is negative",
         "Give 0 for a model without batching, else the largest batch."),
    # --- backend
    Rule("backend-undetermined", ERROR, SERVER,
         "neither the configuration nor the files tell the backend",
         "Set backend in config.pbtxt."),
    Rule("backend-platform", ERROR, SERVER,
         "backend and platform do not fit together",
         "Remove platform, or give the backend's own."),
    Rule("fil-model-type", ERROR, SERVER,
         "the parameter model_type is none that the backend fil knows",
         "Write xgboost, xgboost_json, xgboost_ubj, lightgbm or treelite_checkpoint."),
    Rule("backend-unknown", WARNING, SERVER,
         "the backend's name resembles a known one",
         "Correct backend, or install a backend of this name."),
    # --- inputs and outputs
    Rule("tensor-name", ERROR, SERVER,
         "an input or output has no name",
         "Give name."),
    Rule("tensor-type", ERROR, SERVER,
         "an input or output has no data type, or an unknown one",
         "Give data_type, for instance TYPE_FP32."),
    Rule("tensor-dims", ERROR, SERVER,
         "an input or output has no dims, or one that is neither positive nor -1",
         "Give dims of 1 and more, -1 where the size varies."),
    Rule("tensor-reshape", ERROR, SERVER,
         "reshape and dims do not hold the same number of elements",
         "Make the products of dims and reshape equal between the -1s."),
    Rule("tensor-format", ERROR, SERVER,
         "FORMAT_NHWC and FORMAT_NCHW want three dims",
         "Give three dims, without the batch."),
    Rule("tensor-tensorrt-only", ERROR, SERVER,
         "shape tensors and non-linear formats are for TensorRT (non-linear ones with three dims)",
         "Remove the field."),
    Rule("tensor-duplicate", WARNING, SERVER,
         "two inputs or two outputs have one name; Triton keeps the first",
         "Rename or remove one."),
    Rule("tensor-missing", WARNING, SERVER,
         "no input or no output is declared, and nothing completes them",
         "Declare the model's inputs and outputs."),
    Rule("tensor-batch-dimension", INFO, SERVER,
         "every tensor of a batching model begins with -1: dims may repeat the batch dimension",
         "Remove the first dimension from dims if it is the batch."),
    Rule("batch-tensor", ERROR, SERVER,
         "batch_input or batch_output is not consistent",
         "Name one existing source input, existing outputs, and INT32 or FP32."),
    # --- scheduling
    Rule("instance-gpus", ERROR, SERVER,
         "gpus is given for instances that use none",
         "Remove gpus, or set kind to KIND_GPU."),
    Rule("instance-profile", ERROR, SERVER,
         "profile is for TensorRT only, and a number of 0 or more",
         "Remove or correct profile."),
    Rule("instance-count", WARNING, SERVER,
         "a count below 1 is taken for 1",
         "Give 1 or more, or remove count."),
    Rule("instance-passive", WARNING, SERVER,
         "all instances are passive, so that no request is ever executed",
         "Set passive to false for one group."),
    Rule("rate-limiter", WARNING, SERVER,
         "a rate limiter's resource is not usable with --rate-limit=execution_count",
         "Give each resource a name and one definition."),
    Rule("preferred-batch-size", ERROR, SERVER,
         "a preferred batch size is below 1 or above max_batch_size",
         "Give sizes from 1 to max_batch_size."),
    Rule("batching-idle", WARNING, SERVER,
         "dynamic batching has no effect while max_batch_size is 0",
         "Set max_batch_size, or remove dynamic_batching."),
    Rule("priority-levels", ERROR, SERVER,
         "a priority level is out of range",
         "Give levels from 1 to priority_levels, default_priority_level too."),
    Rule("queue-ordering", ERROR, SERVER,
         "preserve_ordering conflicts with several priority levels and with the timeout action DELAY",
         "Remove preserve_ordering, or the other setting."),
    Rule("queue-delay", WARNING, SERVER,
         "requests may wait more than a second for a batch (the unit is microseconds)",
         "Give microseconds, for instance 500."),
    Rule("sequence-control", ERROR, SERVER,
         "a control input of the sequence batcher is not consistent",
         "Correct the control input."),
    Rule("sequence-utilization", ERROR, SERVER,
         "minimum_slot_utilization is not between 0 and 1",
         "Give a share between 0 and 1."),
    Rule("sequence-state", ERROR, SERVER,
         "an initial state does not fit its state",
         "Give one initial_state with a name, the state's type and dims, and data."),
    Rule("sequence-strategy", ERROR, SERVER,
         "a custom batching strategy cannot be used with the sequence batcher",
         "Remove TRITON_BATCH_STRATEGY_PATH."),
    Rule("response-cache", ERROR, SERVER,
         "the response cache cannot be used with sequences or decoupled models",
         "Disable response_cache."),
    Rule("metric-tag", ERROR, SERVER,
         "a metric tag's name is no Prometheus label name; the server dies of it",
         "Use letters, digits and underscores."),
    Rule("model-metrics", ERROR, SERVER,
         "a metric's control is not complete",
         "Give metric_identifier.family and histogram_options.buckets."),
    # --- files
    Rule("model-file-missing", ERROR, SERVER,
         "a version that is served lacks its model file",
         "Add the file, or name it in default_model_filename."),
    Rule("version-incomplete", WARNING, SERVER,
         "a version that the policy does not serve lacks its model file",
         "Complete or remove the version."),
    Rule("model-file-kind", ERROR, SERVER,
         "the model is a folder where a file is wanted, or the reverse",
         "Export the model again in the backend's form."),
    Rule("model-file-empty", ERROR, SERVER,
         "the model file has no content",
         "Copy the file again."),
    Rule("lfs-pointer", ERROR, SERVER,
         "a file is a Git LFS pointer, not the content",
         "Run git lfs pull in the source, then copy again."),
    Rule("cc-file-missing", WARNING, SERVER,
         "cc_model_filenames names a file that a served version lacks",
         "Add the file, or remove the entry."),
    Rule("label-file", ERROR, SERVER,
         "a label file does not exist; if it is a folder the server dies of it",
         "Add the file to the model's folder, one label a line."),
    Rule("label-count", WARNING, SERVER,
         "the number of labels differs from the output's size",
         "Give one label a line for each class."),
    Rule("warmup", ERROR, SERVER,
         "a warm-up sample cannot run",
         "Give each input its type, fixed dims and data, and a batch up to max_batch_size."),
    Rule("warmup-file", ERROR, SERVER,
         "a warm-up input's file is missing or too short",
         "Put the raw tensor into the model's folder warmup/."),
    Rule("warmup-skipped", WARNING, SERVER,
         "a warm-up sample without batch_size is skipped",
         "Set batch_size to 1 or more."),
    Rule("state-file", ERROR, SERVER,
         "an initial state's file is missing or too short",
         "Put the raw tensor into the model's folder initial_state/."),
    # --- python
    Rule("python-syntax", ERROR, SERVER,
         "the python model does not compile",
         "Correct the code, or lint with the server's Python version."),
    Rule("python-class", ERROR, SERVER,
         "the python model defines no class TritonPythonModel",
         "Define class TritonPythonModel."),
    Rule("python-execute", ERROR, SERVER,
         "TritonPythonModel has no method execute; the model loads and every request fails",
         "Define execute(self, requests)."),
    Rule("python-environment", ERROR, SERVER,
         "EXECUTION_ENV_PATH names a file that the model's folder lacks",
         "Add the archive, or correct the path."),
    Rule("python-parameter", ERROR, SERVER,
         "FORCE_CPU_ONLY_INPUT_TENSORS is neither yes nor no",
         "Write yes or no."),
    # --- ensembles
    Rule("ensemble-platform", ERROR, SERVER,
         "ensemble_scheduling and platform ensemble go together, without a backend",
         'Set platform: "ensemble" and ensemble_scheduling, and no backend.'),
    Rule("ensemble-setting", ERROR, SERVER,
         "an ensemble has no instances, optimization or warm-up of its own",
         "Remove the setting, or move it to a step's model."),
    Rule("ensemble-step", ERROR, SERVER,
         "a step lacks its model, inputs or outputs",
         "Give each step model_name, input_map and output_map."),
    Rule("ensemble-model", ERROR, SERVER,
         "a step names a model that the repository lacks",
         "Add the model, or correct model_name."),
    Rule("ensemble-version", ERROR, SERVER,
         "a step wants a version that is not served; without model_version that is version 0",
         "Set model_version to -1 (the latest) or to a served version."),
    Rule("ensemble-cycle", ERROR, SERVER,
         "ensembles contain each other in a circle",
         "Break the circle."),
    Rule("ensemble-mapping", ERROR, SERVER,
         "a step maps a tensor that its model lacks, or leaves an input without one",
         "Correct input_map and output_map."),
    Rule("ensemble-mapping-open", WARNING, SERVER,
         "a step maps a tensor that its model does not declare; its code may add it",
         "Declare the tensor in the model's config.pbtxt."),
    Rule("ensemble-flow", ERROR, SERVER,
         "a tensor of the ensemble is not produced, not used, or produced twice",
         "Connect every tensor once from the inputs to the outputs."),
    Rule("ensemble-type", ERROR, SERVER,
         "two ends of a tensor have different data types",
         "Make the data types equal."),
    Rule("ensemble-shape", ERROR, SERVER,
         "two ends of a tensor have different shapes",
         "Make the dims equal, or variable (-1) on one side."),
    Rule("ensemble-batch-size", ERROR, SERVER,
         "the ensemble allows larger batches than a step's model",
         "Lower the ensemble's max_batch_size, or raise the model's."),
    Rule("ensemble-decoupled", ERROR, SERVER,
         "a step joins tensors from different decoupled models",
         "Feed each step from one decoupled model at most."),
)
# fmt: on


RULES = {rule.id: rule for rule in _TABLE}
