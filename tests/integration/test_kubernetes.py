"""What an admin of a cluster asks of the manifests and the image: rights, resources, schemas, a builder."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from helpers.paths import ROOT

from vaeflow.cli import main
from vaeflow.distributed.launching import container

KUBERNETES = ROOT / "launch" / "kubernetes"
STRATEGIES = ("horovod", "multiworker")
GPUS = (0, 2)
CRDS = os.environ.get("VAEFLOW_CRDS", "")
"""A folder with the operators' schemas as they publish them; `make test-kubernetes` downloads them."""


def printed(strategy: str, gpus: int, capsys, *options: str) -> dict:
    """Return the job that the command prints."""
    arguments = ["kubernetes", "mnist-2d", f"--strategy={strategy}", f"--gpus={gpus}", "--processes=4", *options]
    assert main(["launch", *arguments]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def pods_of(job: dict) -> dict[str, dict]:
    """Return the pod templates of a job by their role."""
    replicas = job["spec"].get("mpiReplicaSpecs") or job["spec"]["tfReplicaSpecs"]
    return {role: replica["template"] for role, replica in replicas.items()}


@pytest.fixture(autouse=True)
def no_builder(monkeypatch):
    """No container builder is on this machine, unless a test says otherwise."""
    monkeypatch.setattr(container.shutil, "which", lambda _: None)


@pytest.mark.parametrize("gpus", GPUS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_standard_restricted_admits_every_pod(strategy, gpus, capsys):
    """The rules of Kubernetes's Pod Security Standards, profile "restricted", that concern Linux pods."""
    volumes = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}  # of the allowed ones
    for pod in pods_of(printed(strategy, gpus, capsys)).values():
        spec, whole = pod["spec"], json.dumps(pod)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {kind for volume in spec.get("volumes", ()) for kind in volume.keys() - {"name"}} <= volumes
        assert not re.search(r'"(privileged|hostNetwork|hostPID|hostIPC|hostPort|hostPath|sysctls|procMount)"', whole)
        assert not spec.get("initContainers")
        for one in spec["containers"]:
            assert one["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize("gpus", GPUS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_container_has_requests_limits_and_workers_memory(strategy, gpus, capsys):
    pods = pods_of(printed(strategy, gpus, capsys, "--cpus=3", "--memory=9Gi"))
    for pod in pods.values():
        for one in pod["spec"]["containers"]:
            assert one["resources"]["requests"] == one["resources"]["limits"]
            assert one["resources"]["limits"].keys() >= {"cpu", "memory"}
    worker = pods["Worker"]["spec"]
    of_gpus = {"nvidia.com/gpu": "2"} if gpus else {}
    assert worker["containers"][0]["resources"]["limits"] == {"cpu": "3", "memory": "9Gi", **of_gpus}
    mounts = {mount["mountPath"]: mount["name"] for mount in worker["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in worker["volumes"]}
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    assert mounts.keys() == {"/dev/shm", "/runs"}


@pytest.mark.parametrize(
    ("gpus", "options", "image"), [(0, (), "vaeflow"), (1, (), "vaeflow:cuda"), (1, ("--image=a",), "a")]
)
def test_gpus_have_the_image_with_cuda(gpus, options, image, capsys):
    pods = pods_of(printed("horovod", gpus, capsys, *options))
    assert {one["image"] for pod in pods.values() for one in pod["spec"]["containers"]} == {image}


def test_image_and_manifests_agree():
    """The user, the port and the places of the files are named in five files."""
    job = yaml.safe_load((KUBERNETES / "mpijob.yaml").read_text())
    worker = pods_of(job)["Worker"]["spec"]
    ssh, sshd = ((KUBERNETES / name).read_text() for name in ("ssh_config", "sshd_config"))
    port = worker["containers"][0]["readinessProbe"]["tcpSocket"]["port"]
    assert f"  Port {port}\n" in ssh
    assert f"\nPort {port}\n" in sshd
    assert port > 1023
    keys = job["spec"]["sshAuthMountPath"]
    assert f"\nHostKey {keys}/id_rsa\n" in sshd
    for name in ("Dockerfile", "Dockerfile.cuda"):
        text = (KUBERNETES / name).read_text()
        uid = worker["securityContext"]["runAsUser"]
        assert f"--uid {uid} --user-group {Path(keys).parent.name}" in text
        assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == [f"{uid}:{uid}"]
        assert f"COPY launch/kubernetes/sshd_config {worker['containers'][0]['command'][-1]}" in text
        copied = re.findall(r"^COPY (launch\S+)", text, re.MULTILINE)
        assert all((ROOT / path).is_file() for path in copied)


# The schemas


@pytest.mark.parametrize("gpus", GPUS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pods_are_valid_for_kubernetes(strategy, gpus, capsys):
    """By the schemas of Kubernetes's own API, unknown fields refused; as `kubectl apply` does."""
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed: make test-kubernetes"
    ).validate
    for pod in pods_of(printed(strategy, gpus, capsys)).values():
        validate({"apiVersion": "v1", "kind": "Pod", **pod}, "1.31", strict=True)


@pytest.mark.skipif(not CRDS, reason="it needs the operators' schemas: make test-kubernetes")
@pytest.mark.parametrize("gpus", GPUS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_jobs_are_valid_for_the_operators(strategy, gpus, capsys):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    job = printed(strategy, gpus, capsys)
    schema = strict(schema_of(job))
    jsonschema.validate(job, schema)
    pods_of(job)["Worker"]["spec"]["securityContext"]["runAsNonroot"] = True
    with pytest.raises(jsonschema.ValidationError, match="runAsNonroot"):
        jsonschema.validate(job, schema)


def schema_of(job: dict) -> dict:
    """Return the schema of a job's kind and version from the operators' custom resource definitions."""
    group, version = job["apiVersion"].split("/")
    for file in sorted(Path(CRDS).glob("*.yaml")):
        for found in yaml.safe_load_all(file.read_text()):
            if found["spec"]["names"]["kind"] == job["kind"] and found["spec"]["group"] == group:
                versions = {one["name"]: one for one in found["spec"]["versions"]}
                if version in versions:
                    return versions[version]["schema"]["openAPIV3Schema"]
    raise AssertionError(f"{CRDS} has no schema of {job['apiVersion']} {job['kind']}")


def strict(schema: dict) -> dict:
    """Return a schema that refuses unknown fields, as `kubectl apply --validate=strict` does; metadata is open."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    known = {name: strict(value) for name, value in schema.items() if name != "default"}
    if known.pop("x-kubernetes-int-or-string", False):
        known |= {"type": ["integer", "string"]}
    closed = isinstance(schema.get("properties"), dict) and schema["properties"] and "type" in schema
    return {**known, "additionalProperties": False} if closed and "additionalProperties" not in schema else known


# The builder


def stand_in(folder: Path, text: str, monkeypatch) -> None:
    """Put a docker of one's own on this machine, and nothing else."""
    path = folder / "docker"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(container.shutil, "which", lambda name: str(path) if name == "docker" else None)


BUILD = "docker build --file launch/kubernetes/Dockerfile.cuda --tag vaeflow:cuda ."
WHY = "docker does not work (no daemon); podman, buildah: not found"
NONE = f"{BUILD} (no container builder works on this machine: {WHY})"


@pytest.mark.parametrize(("text", "end"), [("exit 0", BUILD), ("echo; echo 'no daemon' >&2; exit 1", NONE)])
def test_the_command_says_how_the_image_is_built(text, end, tmp_path, monkeypatch, capsys):
    stand_in(tmp_path, text, monkeypatch)
    assert main(["launch", "kubernetes", "mnist-2d", "--gpus=1"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vaeflow: the image vaeflow:cuda is built in a clone by: docker build ")
    assert line.endswith(end)


def test_a_named_image_needs_no_hint(capsys):
    assert main(["launch", "kubernetes", "mnist-2d", "--image=a"]) == 0
    assert capsys.readouterr().err == ""


def test_without_any_builder_all_are_named():
    assert container.find_builder() == container.Found(problem="docker, podman, buildah: not found")
