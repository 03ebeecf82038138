"""Renders the chart, and holds objects against the types of the Kubernetes API.

The types are those of Debian's python3-kubernetes (generated from the API's own description): every
field has to be known there, required ones present, and of the right kind.
"""

import functools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml
from kubernetes import client

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "deploy/helm/roster"
EXAMPLES = ROOT / "deploy/helm/examples"
KUSTOMIZE = ROOT / "deploy/kustomize"
# Example, release's namespace, and the kustomization that is rendered from it.
VARIANTS = {
    "hub": ("slurm", "hub"),
    "agents": ("slurm", "agent"),
    "publisher": ("slurm", "publisher"),
    "sunk": ("tenant-slurm", "sunk"),
    "everything": ("slurm", None),
}
PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "datetime": str}


class RenderError(Exception):
    pass


@functools.cache
def renderer():
    """The chart's renderer, built once with the machine's Go against Debian's packages."""
    directory = pathlib.Path(os.environ.get("ROSTER_BUILD_DIR") or tempfile.mkdtemp()).resolve() / "tests"
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "render_chart"
    go = "/usr/bin/go" if os.path.exists("/usr/bin/go") else shutil.which("go")
    environment = os.environ | {
        "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "", "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local", "GOCACHE": str(directory / "gocache")}
    subprocess.run([go, "build", "-o", program, ROOT / "tests/deploy/render/main.go"],
                   env=environment, check=True)
    return program


def render_text(values, namespace="slurm", release="roster"):
    """What the chart makes of values: a list of files, or of mappings."""
    arguments = [renderer(), "-chart", CHART, "-namespace", namespace, "-release", release]
    with tempfile.TemporaryDirectory() as directory:
        for number, item in enumerate(values):
            path = item
            if isinstance(item, dict):
                path = pathlib.Path(directory) / f"{number}.yaml"
                path.write_text(yaml.safe_dump(item))
            arguments += ["-values", path]
        done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        raise RenderError(done.stderr)
    return done.stdout


def objects(text):
    return [item for item in yaml.safe_load_all(text) if item]


def example(name):
    return objects(render_text([EXAMPLES / f"{name}.yaml"], VARIANTS[name][0]))


def without_helm(text):
    """A rendering for kustomize: without the labels that tell Helm its own objects."""
    return "".join(line for line in text.splitlines(keepends=True)
                   if not re.match(r"\s*(helm\.sh/chart|app\.kubernetes\.io/managed-by):", line))


def check_type(value, kind, where):
    """Findings of one value against one type of the API."""
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{where}: not a list"]
        return [finding for number, item in enumerate(value)
                for finding in check_type(item, match[1], f"{where}[{number}]")]
    if match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            return [f"{where}: not a mapping of strings"]
        return [finding for key, item in value.items()
                for finding in check_type(item, match[1], f"{where}.{key}")]
    if kind == "object":
        return []
    if kind in PLAIN:
        is_right = isinstance(value, PLAIN[kind]) and (kind == "bool" or not isinstance(value, bool))
        return [] if is_right else [f"{where}: {value!r} is not of type {kind}"]
    return check_model(value, getattr(client, kind), where)


def check_model(value, model, where):
    if not isinstance(value, dict):
        return [f"{where}: not a {model.__name__}"]
    names = {json: python for python, json in model.attribute_map.items()}
    findings = [f"{where}.{key}: no such field in {model.__name__}" for key in value if key not in names]
    known = {names[key]: item for key, item in value.items() if key in names}
    try:
        model(**known)  # refuses what lacks a required field
    except ValueError as error:
        findings.append(f"{where}: {error}")
    for name, item in known.items():
        findings += check_type(item, model.openapi_types[name], f"{where}.{model.attribute_map[name]}")
    return findings


def check_object(item):
    group, _, version = item["apiVersion"].rpartition("/")
    prefix = "" if version == "v1" else version.capitalize()
    model = getattr(client, f"{prefix or 'V1'}{item['kind']}", None)
    if model is None:
        return [f"{item['kind']} of {item['apiVersion']}: no such type"]
    return check_model(item, model, f"{item['kind']} {item['metadata']['name']}")


def pod_specs(items):
    """(object, pod's spec) of everything that makes pods."""
    for item in items:
        if item["kind"] == "Pod":
            yield item, item["spec"]
        elif item["kind"] == "CronJob":
            yield item, item["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif item["kind"] in ("Deployment", "DaemonSet", "StatefulSet"):
            yield item, item["spec"]["template"]["spec"]


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def one(items, kind):
    found = [item for item in items if item["kind"] == kind]
    assert len(found) == 1, f"{len(found)} of kind {kind}"
    return found[0]
