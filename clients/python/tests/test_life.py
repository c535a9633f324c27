from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client as official

from sandbox_client import (
    ConfigError,
    Conflict,
    Forbidden,
    NotFound,
    Retry,
    Sandbox,
    SandboxClient,
    SandboxError,
    StreamClosed,
    Unauthorized,
)

from .support import Cluster, eventually


@pytest.fixture
def own(client: SandboxClient) -> Iterator[Sandbox]:
    with client.claim("warm") as sandbox:
        yield sandbox


def test_suspend_and_resume(own: Sandbox) -> None:
    stream = own.stream(["sh", "-c", "echo open; sleep 100"])
    assert next(stream).data == b"open\n"
    info = own.suspend()
    assert info.phase == "Suspended"
    assert info.suspended_time is not None
    with pytest.raises(StreamClosed) as caught:
        next(stream)
    assert (caught.value.code, caught.value.reason) == (1001, "the sandbox was suspended")
    with pytest.raises(Conflict, match="suspended"):
        list(own.logs())
    info = own.resume()
    assert info.phase == "Running"
    assert info.ready is not None
    assert info.ready.status == "True"
    assert own.run(["echo", "back"]).stdout == "back\n"


def test_its_use_wakes_it(own: Sandbox) -> None:
    own.suspend()
    assert own.run(["echo", "woken"]).stdout == "woken\n"
    assert own.suspend(wait=False).name == own.name
    own.files.write("/note", "in time")
    assert own.files.read("/note") == b"in time"


def test_restart(own: Sandbox) -> None:
    own.files.write("/gone", b"")
    own.restart()

    def is_fresh() -> bool:
        try:
            return not own.files.exists("/gone")
        except SandboxError:
            # The old Pod goes, the new one comes.
            return False

    eventually("fresh Pod", is_fresh)


def test_the_end_of_a_claim_ends_its_streams(client: SandboxClient) -> None:
    sandbox = client.claim("warm")
    stream = sandbox.stream(["sh", "-c", "echo open; sleep 100"])
    next(stream)
    sandbox.release()
    with pytest.raises(StreamClosed, match="deleted|owner"):
        next(stream)
    with pytest.raises(NotFound):
        sandbox.run("true")


def as_user(cluster: Cluster, token: str) -> SandboxClient:
    admin = cluster.api.configuration
    settings: Any = official.Configuration(host=admin.host)
    settings.ssl_ca_cert = admin.ssl_ca_cert
    settings.api_key = {"BearerToken": f"Bearer {token}"}
    settings.retries = False
    api: Any = official.ApiClient(settings)
    return SandboxClient(cluster.namespace, api_client=api, retry=Retry(attempts=2))


def test_a_user_without_rights(cluster: Cluster, box: Sandbox) -> None:
    nobody = as_user(cluster, cluster.user("nobody", {}))
    with pytest.raises(Forbidden, match="sandboxwarmpools/claim"):
        nobody.claim("warm")
    with pytest.raises(Forbidden, match="sandboxes/exec"):
        nobody.sandbox(box.name).run("true")
    with pytest.raises(Forbidden, match="sandboxes/suspend"):
        nobody.sandbox(box.name).suspend()
    with pytest.raises(Forbidden, match="sandboxes/log"):
        list(nobody.sandbox(box.name).logs())
    with pytest.raises(Forbidden):
        nobody.sandbox(box.name).files.read("/etc/passwd")
    with pytest.raises(Unauthorized):
        as_user(cluster, "no-token").claim("warm")


def test_the_rights_of_a_claimant_are_enough(cluster: Cluster) -> None:
    rights = {
        "sandboxwarmpools/claim": ["create"],
        "sandboxclaims": ["delete"],
        "sandboxclaims/exec": ["create", "get"],
    }
    claimant = as_user(cluster, cluster.user("claimant", rights))

    def claim() -> Sandbox | None:
        try:
            return claimant.claim("warm")
        except Forbidden:
            return None

    # RBAC is known after a moment.
    with eventually("right to claim", claim) as sandbox:
        deadline = time.monotonic() + 30
        while True:
            try:
                assert sandbox.run("echo mine").stdout == "mine\n"
                break
            except Forbidden:
                assert time.monotonic() < deadline
        with pytest.raises(Forbidden):
            claimant.sandbox(sandbox.name).run("true")
        name = sandbox.claim.name
    assert name not in cluster.claims()


def test_where_the_cluster_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="KUBECONFIG"):
        SandboxClient()
    with pytest.raises(ConfigError):
        SandboxClient(kubeconfig=str(tmp_path / "none"))
