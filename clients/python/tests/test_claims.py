from __future__ import annotations

import asyncio
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from kubernetes import client as official
from kubernetes.aio import client as aio_official

from sandbox_client import (
    AlreadyExists,
    AsyncSandboxClient,
    ClaimTimeout,
    Conflict,
    ConnectionFailed,
    Invalid,
    Lifecycle,
    NotFound,
    PoolExhausted,
    Retry,
    SandboxClient,
    TooManyRequests,
)

from .cutting import CuttingProxy
from .support import Cluster, eventually

FAST = Retry(attempts=5, backoff=0.05)


def text(label: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in label.items())


def test_a_warm_claim_and_its_release(client: SandboxClient, cluster: Cluster) -> None:
    cluster.wait_pool("warm", 3)
    with client.claim("warm") as sandbox:
        claim = sandbox.claim
        assert claim is not None
        assert claim.sandbox is not None
        assert (claim.sandbox.launch_type, claim.sandbox.name) == ("Warm", sandbox.name)
        assert claim.ready is not None
        assert claim.ready.status == "True"
        assert claim.pool == "warm"
        assert client.namespace == claim.namespace == cluster.namespace
        assert claim.bound_time is not None
        assert abs(claim.bound_time - datetime.now(timezone.utc)) < timedelta(minutes=1)
        assert sandbox.run("hostname").stdout == sandbox.name + "\n"
    assert claim.name not in cluster.claims()
    eventually("end of the sandbox", lambda: sandbox.name not in cluster.sandboxes())
    sandbox.release()  # once more does no harm


def test_a_cold_claim_of_a_template(client: SandboxClient) -> None:
    with client.claim(template="bare", pod_labels={"who": "me"}) as sandbox:
        claim = sandbox.claim
        assert claim is not None
        assert claim.sandbox is not None
        assert claim.sandbox.launch_type == "Cold"
        assert claim.template == "bare"
        assert sandbox.info().phase == "Running"


def test_variables_take_a_cold_start(client: SandboxClient) -> None:
    with client.claim("warm", env={"GREETING": "good day"}) as sandbox:
        assert sandbox.claim is not None
        assert sandbox.claim.sandbox is not None
        assert sandbox.claim.sandbox.launch_type == "Cold"
        assert sandbox.run('echo "$GREETING"').stdout == "good day\n"
    with pytest.raises(Invalid, match="env"):
        client.claim(template="bare", env={"A": "B"})


def test_an_exhausted_pool(client: SandboxClient, cluster: Cluster, label: dict[str, str]) -> None:
    with pytest.raises(PoolExhausted) as caught:
        client.claim("empty", on_empty_pool="Fail", labels=label)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 0
    assert caught.value.status == 503
    assert cluster.claims(text(label)) == []


def test_what_can_not_be(client: SandboxClient) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        client.claim("nowhere")
    with pytest.raises(ValueError, match="exactly one"):
        client.claim()
    with pytest.raises(ValueError, match="exactly one"):
        client.claim("warm", template="box")
    with pytest.raises(Invalid):
        client.claim_gang("warm", replicas=0)


def test_a_claim_that_waits_in_vain(
    client: SandboxClient, cluster: Cluster, label: dict[str, str]
) -> None:
    started = time.monotonic()
    # On a busy machine kube-apiserver cuts the request before the server has its last word.
    with pytest.raises(ClaimTimeout):
        client.claim("empty", on_empty_pool="Wait", timeout=4, labels=label)
    assert 3 < time.monotonic() - started < 20
    assert cluster.claims(text(label)) == []
    # The same of one that is to be kept: it stands in line on.
    with pytest.raises(ClaimTimeout) as caught:
        client.claim("empty", on_empty_pool="Wait", timeout=4, labels=label, release=False)
    assert cluster.claims(text(label)) == [caught.value.claim]
    with pytest.raises(Conflict, match="not bound"):
        client.attach(caught.value.claim)
    claim = client.get_claim(caught.value.claim)
    assert claim.queue_position == 0
    assert claim.ready is not None
    assert claim.ready.reason in ("WaitingForStock", "ClaimTimedOut")


def test_a_claim_that_waits_is_served(client: SandboxClient, cluster: Cluster) -> None:
    cluster.pool("later", "box", 0)
    threading.Timer(0.5, cluster.scale, ("later", 1)).start()
    with client.claim("later", on_empty_pool="Wait", timeout=60) as sandbox:
        assert sandbox.claim is not None
        assert sandbox.claim.sandbox is not None
        assert sandbox.claim.sandbox.launch_type == "Warm"
    cluster.scale("later", 0)


def test_an_exception_releases(
    client: SandboxClient, cluster: Cluster, label: dict[str, str]
) -> None:
    with pytest.raises(ZeroDivisionError), client.claim("warm", labels=label):
        assert len(cluster.claims(text(label))) == 1
        _ = 1 / 0
    assert cluster.claims(text(label)) == []


def test_a_claim_is_kept_and_attached_to(
    client: SandboxClient, cluster: Cluster, label: dict[str, str]
) -> None:
    with client.claim("warm", release=False, labels=label) as sandbox:
        sandbox.files.write("/tmp/note", "remembered")
    [name] = cluster.claims(text(label))
    with client.attach(name) as again:
        assert again.name == sandbox.name
        assert again.files.read("/tmp/note") == b"remembered"
    by_name = client.sandbox(sandbox.name)
    assert by_name.run(["cat", "/tmp/note"]).stdout == "remembered"
    with pytest.raises(ValueError, match="not held by a claim"):
        by_name.release()
    with client.attach(name, release=True):
        assert cluster.claims(text(label)) == [name]
    assert cluster.claims(text(label)) == []
    with pytest.raises(NotFound):
        client.attach(name)


def test_a_name_that_is_taken_is_not_shared(client: SandboxClient) -> None:
    with client.claim("warm", name="mine") as mine:
        with pytest.raises(AlreadyExists, match="mine"):
            client.claim("warm", name="mine")
        with pytest.raises(AlreadyExists, match="mine"):
            client.claim(template="box", name="mine")
        assert mine.run("true").ok
        assert client.get_claim("mine").uid == (mine.claim and mine.claim.uid)


def test_a_claim_of_the_same_name_is_not_released(client: SandboxClient) -> None:
    first = client.claim("warm", name="again")
    first.release()
    with client.claim("warm", name="again") as second:
        first.release()
        assert second.run("true").ok


def test_a_gang(client: SandboxClient, cluster: Cluster, label: dict[str, str]) -> None:
    with client.claim_gang("warm", replicas=2, labels=label, timeout=60) as gang:
        assert len(gang) == len({member.name for member in gang}) == 2
        said = {member.run("hostname").stdout.strip() for member in gang}
        assert said == {member.name for member in gang[:]}
        assert len(cluster.claims(text(label))) == 1
    assert cluster.claims(text(label)) == []
    with pytest.raises(PoolExhausted):
        client.claim_gang("warm", replicas=50, on_empty_pool="Fail")


def test_a_lifecycle(client: SandboxClient, cluster: Cluster) -> None:
    end = datetime.now(timezone.utc) + timedelta(seconds=3)
    life = Lifecycle(shutdown_time=end, shutdown_policy="Delete", ttl_seconds_after_finished=9)
    sandbox = client.claim("warm", lifecycle=life)
    assert sandbox.claim is not None
    name = sandbox.claim.name
    assert cluster.get("sandboxclaims", name)["spec"]["lifecycle"] == {
        "shutdownTime": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "shutdownPolicy": "Delete",
        "ttlSecondsAfterFinished": 9,
    }
    eventually("end of the claim", lambda: name not in cluster.claims())
    with pytest.raises(ValueError, match="time zone"):
        Lifecycle(shutdown_time=datetime.now()).to_spec()


def through(proxy: CuttingProxy, cluster: Cluster, retry: Retry = FAST) -> SandboxClient:
    settings: Any = official.Configuration(host=proxy.url)
    settings.retries = False
    api: Any = official.ApiClient(settings)
    return SandboxClient(cluster.namespace, api_client=api, retry=retry)


FAULTS: list[tuple[list[str | int], list[int]]] = [
    (["after"], [201, 200]),
    (["after", "after", "before"], [201, 200, 200]),
    (["before", 503, 429, 504], [201]),
    (["after", 503, "after"], [201, 200, 200]),
]


@pytest.mark.parametrize(("faults", "answers"), FAULTS)
def test_a_repeated_claim_is_one_claim(
    cluster: Cluster, label: dict[str, str], faults: list[str | int], answers: list[int]
) -> None:
    with CuttingProxy(cluster.api, faults) as proxy:
        sandbox = through(proxy, cluster).claim("warm", labels=label)
        assert proxy.faults == []
        assert proxy.claims_answered == answers
        [name] = cluster.claims(text(label))
        assert sandbox.claim is not None
        assert sandbox.claim.name == name
        sandbox.release()
    assert cluster.claims(text(label)) == []


@pytest.mark.parametrize(("faults", "answers"), FAULTS[:2])
async def test_a_repeated_async_claim_is_one_claim(
    cluster: Cluster, label: dict[str, str], faults: list[str | int], answers: list[int]
) -> None:
    with CuttingProxy(cluster.api, faults) as proxy:
        settings: Any = aio_official.Configuration(host=proxy.url)
        api: Any = aio_official.ApiClient(settings)
        async with (
            api,
            AsyncSandboxClient(cluster.namespace, api_client=api, retry=FAST) as client,
            client.claim("warm", labels=label) as sandbox,
        ):
            assert proxy.claims_answered == answers
            claim = sandbox.claim
            assert claim is not None
            assert await asyncio.to_thread(cluster.claims, text(label)) == [claim.name]
    assert cluster.claims(text(label)) == []


def test_a_claim_that_nobody_hears_of_is_deleted(cluster: Cluster, label: dict[str, str]) -> None:
    for own in ({}, {"name": "unheard"}):
        with CuttingProxy(cluster.api, ["after"] * FAST.attempts) as proxy:
            with pytest.raises(ConnectionFailed):
                through(proxy, cluster).claim("warm", labels=label, **own)  # type: ignore[arg-type]
            assert proxy.claims_answered == [201, 200, 200, 200, 200]
        assert cluster.claims(text(label)) == []


def test_retries_are_bounded(cluster: Cluster) -> None:
    with CuttingProxy(cluster.api, [429] * 9) as proxy:
        with pytest.raises(TooManyRequests) as caught:
            through(proxy, cluster, Retry(attempts=2)).claim("warm")
        assert len(proxy.faults) == 7
        assert caught.value.retry_after == 1
        # Time bounds them too.
        started = time.monotonic()
        with pytest.raises(ClaimTimeout):
            through(proxy, cluster).claim("warm", timeout=1.5)
        assert time.monotonic() - started < 3


async def test_a_cancelled_claim_is_deleted(
    aclient: AsyncSandboxClient, cluster: Cluster, label: dict[str, str]
) -> None:
    async def claim() -> None:
        async with aclient.claim("empty", on_empty_pool="Wait", labels=label):
            raise AssertionError("nothing was in stock")

    task = asyncio.create_task(claim())
    stored = lambda: cluster.claims(text(label))  # noqa: E731
    await asyncio.to_thread(eventually, "claim that waits", stored)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(stored) == []
