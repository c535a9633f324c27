"""Everything runs on the real cluster of KUBECONFIG, in a namespace of its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import config

from sandbox_client import AsyncSandboxClient, Sandbox, SandboxClient

from .support import BARE, SERVING, Cluster, eventually

WARM = 3


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if not os.environ.get("KUBECONFIG"):
        pytest.exit("KUBECONFIG is not set: the tests need a cluster with sandbox-apiserver", 3)
    api: Any = config.new_client_from_config(config_file=os.environ["KUBECONFIG"])
    made = Cluster(api)
    try:
        made.make_namespace()
        made.template("box", SERVING, envVarsInjectionPolicy="Allowed")
    except Exception as error:
        if made.namespace:
            made.delete_namespace()
        pytest.exit(f"the cluster of KUBECONFIG can't be used: {error}", 3)
    try:
        made.template("bare", BARE)
        made.pool("warm", "box", WARM)
        made.pool("empty", "bare", 0)
        made.wait_pool("warm", WARM)
        yield made
    finally:
        made.delete_namespace()
        api.close()


@pytest.fixture(scope="session", autouse=True)
def own_kubeconfig(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """That of the environment, with the namespace of the tests in its context: what a user has."""
    text = Path(os.environ["KUBECONFIG"]).read_text()
    own = yaml.safe_load(text)
    for context in own["contexts"]:
        context["context"]["namespace"] = cluster.namespace
    path = tmp_path_factory.mktemp("kube") / "config"
    path.write_text(yaml.safe_dump(own))
    path.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(path))
        yield path


@pytest.fixture(scope="session")
def client(own_kubeconfig: Path) -> Iterator[SandboxClient]:
    with SandboxClient() as made:
        yield made


@pytest.fixture
async def aclient() -> AsyncIterator[AsyncSandboxClient]:
    async with AsyncSandboxClient() as made:
        yield made


@pytest.fixture(scope="session")
def box(client: SandboxClient) -> Iterator[Sandbox]:
    """A Sandbox for tests that leave it as it was."""
    with client.claim("warm") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def bare(client: SandboxClient) -> Iterator[Sandbox]:
    """One that has neither sh nor tar."""
    with client.claim(template="bare") as sandbox:
        # Its process may not have come so far yet.
        eventually("end of the tools", lambda: not has_tools(sandbox))
        yield sandbox


def has_tools(sandbox: Sandbox) -> bool:
    return sandbox.run(["test", "-e", "/bin/sh"]).ok or sandbox.run(["test", "-e", "/bin/tar"]).ok


@pytest.fixture
def label() -> dict[str, str]:
    """To find the claims of one test by."""
    return {"test": uuid.uuid4().hex[:12]}
