# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Triton backend "fil" in Python: serves stock forest repositories (XGBoost, LightGBM, Treelite) with PyPI's treelite.

Files, parameters and answers follow triton-inference-server/fil_backend on a CPU, which computes with Treelite's GTIL too. Parameters that
tune GPUs alone are accepted and have no effect. Not here: Shapley values (an output `treeshap_output` is refused at load).
"""

from __future__ import annotations

import json
import os

import numpy as np
import treelite
import triton_python_backend_utils as pb_utils

# model_type → the file that is looked for where default_model_filename is not given.
DEFAULT_FILES = {
    "xgboost": "xgboost.model",
    "xgboost_json": "xgboost.json",
    "xgboost_ubj": "xgboost.ubj",
    "lightgbm": "model.txt",
    "treelite_checkpoint": "checkpoint.tl",
}
INPUT, OUTPUT = "input__0", "output__0"
FORMATS = {"xgboost_json": "json", "xgboost_ubj": "ubjson"}
LOAD_ERRORS = (treelite.TreeliteError, OSError, RuntimeError, TypeError, ValueError)


# --- the model's configuration


class Settings:
    """A model's parameters, as fil_backend reads them. Raises TritonModelException for one that cannot be."""

    def __init__(self, config):
        self._config = config
        self.name = config["name"]
        self.model_type = self._text("model_type", "xgboost")
        if self.model_type not in DEFAULT_FILES:
            self.refuse(f"model_type '{self.model_type}' is not one of {', '.join(sorted(DEFAULT_FILES))}")
        self.predict_proba = self._boolean("predict_proba", False)
        self.allow_unknown_field = self._boolean("xgboost_allow_unknown_field", False)
        # Renamed in 25.09; the old name wins there too.
        classifier = "output_class" if self._text("output_class") is not None else "is_classifier"
        if self._text(classifier) is None:
            self.refuse("parameter 'output_class' is missing: true for a classifier, false for a regression")
        self.is_classifier = self._boolean(classifier, False)
        self.threshold = self._number("threshold", 0.5) if self.is_classifier else 0.5
        self.threads = int(self._number("cpu_nthread", -1))
        self._check_tensors()

    def refuse(self, cause):
        raise pb_utils.TritonModelException(f"unable to load model '{self.name}': {cause}")

    def _text(self, name, default=None):
        return self._config.get("parameters", {}).get(name, {}).get("string_value", default)

    def _boolean(self, name, default):
        text = self._text(name)
        if text is None:
            return default
        if text.strip().lower() not in ("true", "false", "1", "0"):
            self.refuse(f"parameter '{name}' is '{text}', expected true or false")
        return text.strip().lower() in ("true", "1")

    def _number(self, name, default):
        text = self._text(name)
        try:
            return default if text is None else float(text)
        except ValueError:
            return self.refuse(f"parameter '{name}' is '{text}', expected a number")

    def _check_tensors(self):
        for key, name in (("input", INPUT), ("output", OUTPUT)):
            entries = {each["name"]: each for each in self._config.get(key, [])}
            if name not in entries:
                self.refuse(f"{key} '{name}' is missing from config.pbtxt; it has {', '.join(entries) or 'none'}")
            if entries[name]["data_type"] != "TYPE_FP32":
                self.refuse(f"{key} '{name}' has data type {entries[name]['data_type']}, expected TYPE_FP32")
            for other in sorted(set(entries) - {name}):
                self.refuse(f"{key} '{other}' is not served by this backend")
        self.columns = int(self._entry("output")["dims"][-1])
        self.features = int(self._entry("input")["dims"][-1])

    def _entry(self, key):
        return next(each for each in self._config[key] if each["name"] in (INPUT, OUTPUT))

    def file(self, version_folder):
        path = os.path.join(version_folder, self._config.get("default_model_filename") or DEFAULT_FILES[self.model_type])
        if os.path.isdir(path):
            path = os.path.join(path, DEFAULT_FILES[self.model_type])
        if not os.path.exists(path):
            self.refuse(f"there is no file '{path}', which model_type {self.model_type} is read from")
        return path


# --- the forest


def read_forest(path, settings):
    """Loads a forest with Treelite. Raises TritonModelException with Treelite's reason."""
    try:
        if settings.model_type == "treelite_checkpoint":
            return treelite.Model.deserialize(path)
        if settings.model_type == "lightgbm":
            return treelite.frontend.load_lightgbm_model(path)
        if settings.model_type == "xgboost":
            return treelite.frontend.load_xgboost_model_legacy_binary(path)
        return treelite.frontend.load_xgboost_model(
            path, format_choice=FORMATS[settings.model_type], allow_unknown_field=settings.allow_unknown_field
        )
    except LOAD_ERRORS as error:
        raise pb_utils.TritonModelException(f"failed to load model '{settings.name}' from '{path}': {error}") from error


class Forest:
    """A forest and how its scores become answers."""

    def __init__(self, model, settings):
        self._model = model
        self._settings = settings
        header = model.get_header_accessor()
        self.classes = int(np.max(header.get_field("num_class")))
        self._probabilities_of_classes(header)
        if settings.features != -1 and settings.features < model.num_feature:
            settings.refuse(f"input '{INPUT}' has {settings.features} features in config.pbtxt, the forest has {model.num_feature}")
        if settings.columns not in (-1, *self._columns()):
            expected = " or ".join(map(str, self._columns()))
            settings.refuse(f"output '{OUTPUT}' has {settings.columns} columns in config.pbtxt, expected {expected}")

    def _probabilities_of_classes(self, header):
        # As fil_backend does, whatever the forest was trained with: softmax over one tree a class, nothing over trees of class vectors.
        if self._settings.predict_proba and self.classes > 1:
            vectors = header.get_field("leaf_vector_shape")
            header.set_field("postprocessor", "softmax" if int(vectors[1]) == 1 else "identity_multiclass")

    def _columns(self):
        """The widths that the answer may have."""
        if self._settings.predict_proba:
            return (1, 2) if self.classes == 1 else (self.classes,)
        return (1,) if self._settings.is_classifier or self.classes == 1 else (self.classes,)

    def predict(self, rows):
        """rows: float32 [n, features]. Returns float32 [n, columns]."""
        scores = treelite.gtil.predict(self._model, rows, nthread=self._settings.threads)
        scores = np.asarray(scores, dtype=np.float32).reshape(len(rows), -1)
        if self._settings.predict_proba:
            if self.classes == 1 and self._settings.columns == 2:
                return np.concatenate([1 - scores, scores], axis=1)
            return scores
        if not self._settings.is_classifier:
            return scores
        if self.classes == 1:
            return (scores > self._settings.threshold).astype(np.float32)
        if scores.shape[1] == 1:
            return scores
        return scores.argmax(axis=1).astype(np.float32).reshape(-1, 1)


# --- inference


class TritonPythonModel:
    """What the python backend's stub drives: one object an instance."""

    def initialize(self, args):
        settings = Settings(json.loads(args["model_config"]))
        self.name = settings.name
        if args.get("model_instance_kind") == "GPU":
            pb_utils.Logger.log_warn(f"model '{settings.name}' asks for a GPU; this fil backend computes on the CPU")
        version_folder = os.path.join(args["model_repository"], args["model_version"])
        self.forest = Forest(read_forest(settings.file(version_folder), settings), settings)

    def execute(self, requests):
        """All requests of a call are one batch: their rows differ in nothing but their number."""
        rows = [np.ascontiguousarray(pb_utils.get_input_tensor_by_name(each, INPUT).as_numpy(), dtype=np.float32) for each in requests]
        shapes = [each.shape for each in rows]
        rows = [each.reshape(-1, shape[-1]) for each, shape in zip(rows, shapes)]
        if len({each.shape[1] for each in rows}) > 1:
            return [self._answer([each], [shape])[0] for each, shape in zip(rows, shapes)]
        return self._answer(rows, shapes)

    def _answer(self, rows, shapes):
        try:
            answers = self.forest.predict(np.concatenate(rows) if len(rows) > 1 else rows[0])
        except LOAD_ERRORS as error:
            cause = f"fil, model '{self.name}': {error}"
            return [pb_utils.InferenceResponse([], pb_utils.TritonError(cause)) for _unused in rows]
        responses, start = [], 0
        for each, shape in zip(rows, shapes):
            part = np.ascontiguousarray(answers[start : start + len(each)])
            start += len(each)
            # Without a batch dimension a single row goes in and a single row comes out.
            part = part.reshape(-1) if len(shape) == 1 else part
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor(OUTPUT, part)]))
        return responses
