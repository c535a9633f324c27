"""The cluster as the tests need it, by the official client; nothing of the package is used."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kubernetes import client

GROUP, VERSION = "sandbox.x-k8s.io", "v1beta1"
IMAGE = "docker.io/local/busybox:1"
PATIENCE = 90.0

SERVING = (
    "echo started; mkdir -p /www; echo page > /www/index.html; httpd -p 8080 -h /www; "
    "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"
)
# The same image after it has lost its tools.
BARE = "rm /bin/tar /bin/sh; exec sleep 100000"


def eventually(what: str, probe: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """The first true thing that the probe says."""
    deadline = time.monotonic() + patience
    while True:
        seen = probe()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"no {what} after {patience} s"
        time.sleep(0.1)


class Cluster:
    def __init__(self, api: Any) -> None:
        self.api = api
        self.core: Any = client.CoreV1Api(api)
        self.rbac: Any = client.RbacAuthorizationV1Api(api)
        self.custom: Any = client.CustomObjectsApi(api)
        self.namespace = ""

    def make_namespace(self) -> None:
        meta = {"metadata": {"generateName": "client-python-"}}
        self.namespace = self.core.create_namespace(meta).metadata.name
        # No Pod is admitted before it is there.
        eventually("default ServiceAccount", self._has_service_account)

    def _has_service_account(self) -> bool:
        found = self.core.list_namespaced_service_account(self.namespace).items
        return any(one.metadata.name == "default" for one in found)

    def delete_namespace(self) -> None:
        self.core.delete_namespace(self.namespace)
        eventually("end of the namespace", self._is_gone, 2 * PATIENCE)

    def _is_gone(self) -> bool:
        names = [one.metadata.name for one in self.core.list_namespace().items]
        return self.namespace not in names

    def create(self, kind: str, plural: str, name: str, spec: dict[str, Any]) -> Any:
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        return self.custom.create_namespaced_custom_object(
            GROUP, VERSION, self.namespace, plural, body
        )

    def template(self, name: str, script: str, **more: Any) -> None:
        container = {
            "name": "agent",
            "image": IMAGE,
            "imagePullPolicy": "Never",
            "command": ["sh", "-c", script],
        }
        pod = {"terminationGracePeriodSeconds": 1, "containers": [container]}
        spec = {"podTemplate": {"spec": pod}, **more}
        self.create("SandboxTemplate", "sandboxtemplates", name, spec)

    def pool(self, name: str, template: str, replicas: int) -> None:
        spec = {"replicas": replicas, "sandboxTemplateRef": {"name": template}}
        self.create("SandboxWarmPool", "sandboxwarmpools", name, spec)

    def scale(self, pool: str, replicas: int) -> None:
        body = {"spec": {"replicas": replicas}}
        self.custom.patch_namespaced_custom_object(
            GROUP, VERSION, self.namespace, "sandboxwarmpools", pool, body
        )

    def wait_pool(self, name: str, replicas: int) -> None:
        def full() -> bool:
            pool = self.custom.get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, "sandboxwarmpools", name
            )
            return bool(pool.get("status", {}).get("readyReplicas", 0) == replicas)

        eventually(f"pool {name} with {replicas}", full)

    def claims(self, label: str = "") -> list[str]:
        """Names, of those with a label if one is given."""
        found = self.custom.list_namespaced_custom_object(
            GROUP, VERSION, self.namespace, "sandboxclaims", label_selector=label
        )
        return [one["metadata"]["name"] for one in found["items"]]

    def get(self, plural: str, name: str) -> Any:
        return self.custom.get_namespaced_custom_object(
            GROUP, VERSION, self.namespace, plural, name
        )

    def sandboxes(self) -> list[str]:
        found = self.custom.list_namespaced_custom_object(
            GROUP, VERSION, self.namespace, "sandboxes"
        )
        return [one["metadata"]["name"] for one in found["items"]]

    def user(self, name: str, rules: dict[str, list[str]]) -> str:
        """The token of a service account that may do this: resources of ours and their verbs."""
        ns = self.namespace
        self.core.create_namespaced_service_account(ns, {"metadata": {"name": name}})
        if rules:
            made = [
                {"apiGroups": [GROUP], "resources": [resource], "verbs": verbs}
                for resource, verbs in rules.items()
            ]
            self.rbac.create_namespaced_role(ns, {"metadata": {"name": name}, "rules": made})
            binding = {
                "metadata": {"name": name},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": name,
                },
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": ns}],
            }
            self.rbac.create_namespaced_role_binding(ns, binding)
        answer = self.core.create_namespaced_service_account_token(name, ns, {"spec": {}})
        return str(answer.status.token)
