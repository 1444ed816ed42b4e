"""Every overlay builds, and every object of it is one that Kubernetes would accept."""

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.k8s.manifests import OVERLAYS, ROOT, identity, render

#: The oldest Kubernetes that is supported, and the newest that there are schemas for.
VERSIONS = ("1.31", "1.37")
#: Schemas of custom resources, by `apiVersion/kind`: the part of them that is used here.
CUSTOM = yaml.safe_load((ROOT / "tests" / "k8s" / "custom_resources.yaml").read_text())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_objects_are_valid(overlay: str, version: str) -> None:
    wrong = []
    for thing in render(overlay):
        kind = f"{thing['apiVersion']}/{thing['kind']}"
        if kind in CUSTOM:
            wrong += [
                f"{identity(thing)}: {error.json_path}: {error.message}"
                for error in Draft202012Validator(CUSTOM[kind]).iter_errors(thing)
            ]
            continue
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            wrong.append(f"{identity(thing)}: {error.message}")
    assert not wrong


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_objects_are_named_once_and_lie_in_the_namespace_of_the_overlay(overlay: str) -> None:
    objects = render(overlay)
    names = [identity(thing) for thing in objects]
    assert len(set(names)) == len(names)
    (namespace,) = (thing["metadata"]["name"] for thing in objects if thing["kind"] == "Namespace")
    outside = [
        identity(thing)
        for thing in objects
        if thing["kind"] != "Namespace" and thing["metadata"].get("namespace") != namespace
    ]
    assert not outside


def test_schemas_of_custom_resources_refuse_what_they_do_not_know() -> None:
    for kind, schema in CUSTOM.items():
        api_version, _, name = kind.rpartition("/")
        errors = Draft202012Validator(schema).iter_errors(
            {"apiVersion": api_version, "kind": name, "metadata": {"name": "x"}, "spec": {"nonsense": 1}}
        )
        assert list(errors), kind
