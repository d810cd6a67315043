"""The manifests of docs/cluster: pods by the schema of Kubernetes; KubeRay's, which no package has, by field names."""

from __future__ import annotations

import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import main
from pipeline.errors import InputError
from pipeline.serving.application import TOKEN, build
from pipeline.serving.limits import Limits
from pipeline.serving.server import ServiceOrder

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


def test_the_painter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manifest = read("painter")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    assert set(manifest["spec"]) == {"serveConfigV2", "rayClusterConfig"}
    cluster = manifest["spec"]["rayClusterConfig"]
    check_cluster(cluster)
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"]["containers"][0] for group in groups]
    assert all(entry["name"] == TOKEN for pod in pods for entry in pod["env"]) and all(pod["env"] for pod in pods)

    config = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    assert set(config) == {"proxy_location", "http_options", "applications"}
    assert config["http_options"]["request_timeout_s"] == 2 * Limits().answer_seconds  # as `serve --workers` has it
    assert {"name": "serve", "containerPort": config["http_options"]["port"]} in pods[0]["ports"]
    (application,) = config["applications"]
    assert set(application) == {"name", "route_prefix", "import_path", "args"}
    module, _, name = application["import_path"].partition(":")
    assert getattr(import_module(module), name) is build

    ordered: list[tuple[ServiceOrder, int]] = []
    monkeypatch.setattr("pipeline.serving.application.application", lambda *order: ordered.append(order))
    monkeypatch.setenv(TOKEN, "a-good-token")
    monkeypatch.setattr("pipeline.serving.serve.resolve_checkpoint", str)
    build(application["args"])
    ((order, workers),) = ordered
    assert (order.checkpoints, order.folder) == (("/data/runs/mine",), "/data/served")
    assert workers == sum(group["replicas"] for group in cluster["workerGroupSpecs"])
    assert order.access.token == "a-good-token"


@pytest.mark.parametrize(
    ("args", "token", "told"),
    [
        ({"worker": 2}, "a-good-token", "args.worker: Extra inputs are not permitted"),
        ({"workers": 0}, "a-good-token", "args.workers: Input should be greater than or equal to 1"),
        ({"precision": "int8"}, "a-good-token", "args.precision: Input should be 'fp32', 'bf16' or 'fp16'"),
        (
            {},
            "",
            "the service can be reached from other machines; set SPADEWORK_TOKEN in the environment of every node",
        ),
        ({}, "short", "the token is no 8 to 200 letters"),
    ],
)
def test_bad_applications_are_refused(
    args: dict[str, Any], token: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, token)
    with pytest.raises(InputError) as caught:
        build(args)
    assert str(caught.value).startswith(told)


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
