"""The manifests of docs/cluster: pods by the schema of Kubernetes; KubeRay's, which no package has, by field names."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import main

FOLDER = Path(__file__).parents[2] / "docs" / "cluster"
JOBS = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "painter")
JOB_FIELDS = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
GROUP_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
"""Of the API ray.io/v1 that KubeRay 1.1 documents: those that ours use."""


def read(name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return manifest


def check_cluster(cluster: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert set(cluster) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    for group in groups:
        assert set(group) <= GROUP_FIELDS
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # KubeRay wants texts
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize("name", JOBS)
def test_jobs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = read(name)
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    assert set(manifest["spec"]) == JOB_FIELDS
    check_cluster(manifest["spec"]["rayClusterSpec"])
    program, verb, *arguments = shlex.split(manifest["spec"]["entrypoint"])
    assert program == "spadework"
    for module in ("pipeline.command_line", "evaluation.command_line"):
        monkeypatch.setattr(f"{module}.check_there", lambda *_: None)
    main.commands[verb].make_context(verb, arguments)  # a usage error where an option does not exist


def test_the_image_has_what_the_wheel_has() -> None:
    root = FOLDER.parents[1]
    copied = {
        word
        for line in (root / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY")
        for word in line.split()[1:-1]
    }
    allowed = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert {"pipeline", "training", "evaluation", "configs", "weights", "cli.py", "spadework.py"} <= copied
    assert all((root / name).exists() for name in copied)
