"""Claims: made once however often the request is sent, and deleted if nobody gets them."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from ._requests import (
    GROUP_VERSION,
    Deadline,
    Op,
    Request,
    Retry,
    await_answer,
    call,
    object_path,
    persist,
)
from .errors import (
    AlreadyExists,
    ApiError,
    ClaimTimeout,
    Conflict,
    NotFound,
    PoolExhausted,
    SandboxError,
    ServerTimeout,
    Unavailable,
    WaitTimeout,
)
from .models import ClaimInfo, Lifecycle, OnEmptyPool, Wait

_log = logging.getLogger("sandbox_client")
# To clean up after a claim that failed: nobody waits for it gladly.
_CLEANUP_SECONDS = 10.0
_FAILED = {"ClaimTimedOut", "ClaimExpired", "SandboxMissing"}


@dataclass(frozen=True, slots=True)
class Order:
    """One claim() call: whatever is sent again is sent with this name and key."""

    namespace: str
    name: str
    generated: bool
    spec: Mapping[str, Any]
    pool: str | None
    wait: Wait
    timeout: float
    keep: bool
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return str(self.spec["idempotencyKey"])

    @property
    def path(self) -> str:
        if self.pool:
            # The narrowest right: create on sandboxwarmpools/claim.
            return object_path(self.namespace, "sandboxwarmpools", self.pool, "claim")
        return object_path(self.namespace, "sandboxclaims")

    @property
    def body(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {"name": self.name, "namespace": self.namespace}
        if self.labels:
            metadata["labels"] = dict(self.labels)
        return {
            "apiVersion": GROUP_VERSION,
            "kind": "SandboxClaim",
            "metadata": metadata,
            "spec": dict(self.spec),
        }


class ClaimOptions(TypedDict, total=False):
    """What else a claim may ask for."""

    template: str
    """Claim by a template instead of a pool: stock of any of its pools, else a cold start."""
    name: str
    """The claim's name; one of its own if not given."""
    wait: Wait
    """Return when the claim is "bound", or its Sandbox "ready", which is the default."""
    timeout: float
    """Longest wait in seconds, 120 if not given; ClaimTimeout after it."""
    release: bool
    """False keeps the claim when `with` is left; True is the default."""
    on_empty_pool: OnEmptyPool
    """Where nothing is in stock: "ColdStart" (the default) makes a Sandbox, "Fail" raises
    PoolExhausted, "Wait" stands in line."""
    lifecycle: Lifecycle
    """When the claim ends by itself."""
    env: Mapping[str, str]
    """Variables, if the template allows them; they take a cold start."""
    labels: Mapping[str, str]
    """Labels of the claim."""
    pod_labels: Mapping[str, str]
    pod_annotations: Mapping[str, str]
    volume_claim_templates: Sequence[Mapping[str, Any]]
    """Volumes, if the template allows them; they take a cold start."""
    idempotency_key: str
    """A key that another process, or this one after a crash, can repeat the claim with."""


def order(namespace: str, pool: str | None, replicas: int, options: ClaimOptions) -> Order:
    template, name = options.get("template"), options.get("name")
    source = pool or template
    if not source or (pool and template):
        raise ValueError("exactly one of pool and template is needed")
    timeout = options.get("timeout", 120.0)
    spec: dict[str, Any] = {
        ("warmPoolRef" if pool else "sandboxTemplateRef"): {"name": source},
        "idempotencyKey": options.get("idempotency_key") or uuid.uuid4().hex,
        "onEmptyPool": options.get("on_empty_pool", "ColdStart"),
    }
    if replicas != 1:
        spec["replicas"] = replicas
    if spec["onEmptyPool"] == "Wait":
        # Should this process die, its claim leaves the line soon. A little later than this side
        # gives up, so that there is one answer to who gave up.
        spec["timeout"] = f"{timeout + 5:.3f}s"
    if "lifecycle" in options:
        spec["lifecycle"] = options["lifecycle"].to_spec()
    if env := options.get("env"):
        spec["env"] = [{"name": key, "value": value} for key, value in env.items()]
    if volumes := options.get("volume_claim_templates"):
        spec["volumeClaimTemplates"] = list(volumes)
    metadata = {
        "labels": dict(options.get("pod_labels") or {}),
        "annotations": dict(options.get("pod_annotations") or {}),
    }
    if any(metadata.values()):
        spec["additionalPodMetadata"] = {key: value for key, value in metadata.items() if value}
    return Order(
        namespace=namespace,
        name=name or _name(source),
        generated=name is None,
        spec=spec,
        pool=pool,
        wait=options.get("wait", "ready"),
        timeout=timeout,
        keep=not options.get("release", True),
        labels=options.get("labels") or {},
    )


def _name(source: str) -> str:
    # Chosen here and not by the server: a claim whose answer was lost can be deleted by it.
    prefix = re.sub(r"[^a-z0-9-]", "-", source.lower())[:46].strip("-")
    return f"{prefix or 'claim'}-{uuid.uuid4().hex[:12]}"


def claim(asked: Order, retry: Retry) -> Op[ClaimInfo]:
    """Makes the claim and waits for it. What may have been stored without being handed out is
    deleted, unless it was to be kept."""
    deadline = Deadline(asked.timeout)
    try:
        try:
            body = yield from await_answer(
                "POST", asked.path, asked.wait, asked.body, retry, deadline
            )
        except WaitTimeout as late:
            raise ClaimTimeout(asked.name, str(late)) from late
        made = ClaimInfo.of(body)
        if made.idempotency_key != asked.key:
            # The server takes a repeated name of a pool's claim for a repeated request; it is not.
            raise AlreadyExists(
                409, "AlreadyExists", f'the claim "{made.name}" is another\'s; attach() to use it'
            )
        if not made.sandboxes or (made.ready and made.ready.reason in _FAILED):
            why = made.ready
            text = f"{why.reason}: {why.message}" if why else "it is not bound"
            raise ClaimTimeout(made.name, text)
        return made
    except GeneratorExit:
        raise
    except BaseException as error:
        if not asked.keep and _may_be_stored(error):
            yield from _forget(asked, retry)
        raise


def _may_be_stored(error: BaseException) -> bool:
    """Not after an answer that refuses it. An answer to a repeated request tells of the first too,
    for both have one key."""
    if isinstance(error, (ServerTimeout, PoolExhausted)):
        return isinstance(error, ServerTimeout)
    return not isinstance(error, ApiError) or isinstance(error, Unavailable) or error.status == 500


def _forget(asked: Order, retry: Retry) -> Op[None]:
    deadline = Deadline(_CLEANUP_SECONDS)
    path = object_path(asked.namespace, "sandboxclaims", asked.name)
    try:
        uid = ""
        if not asked.generated:
            found = ClaimInfo.of((yield from persist(Request("GET", path), retry, deadline)))
            if found.idempotency_key != asked.key:
                return
            uid = found.uid
        yield from _delete(path, uid, retry, deadline)
    except NotFound:
        pass
    except SandboxError as error:
        _log.warning("claim %r may be left behind: %s", asked.name, error)


def release(claim: ClaimInfo, retry: Retry, timeout: float) -> Op[None]:
    """Deletes this very claim, if it is still there."""
    path = object_path(claim.namespace, "sandboxclaims", claim.name)
    try:
        yield from _delete(path, claim.uid, retry, Deadline(timeout))
    except NotFound:
        pass
    except Conflict:
        # Another of its name: ours is gone. Or it is in the way for another reason.
        now = yield from call(Request("GET", path))
        if ClaimInfo.of(now).uid == claim.uid:
            raise


def _delete(path: str, uid: str, retry: Retry, deadline: Deadline) -> Op[None]:
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if uid:
        body["preconditions"] = {"uid": uid}
    yield from persist(Request("DELETE", path, body=body), retry, deadline)


def fetch(namespace: str, name: str, retry: Retry, timeout: float) -> Op[ClaimInfo]:
    """The claim as it is now."""
    request = Request("GET", object_path(namespace, "sandboxclaims", name))
    return ClaimInfo.of((yield from persist(request, retry, Deadline(timeout))))
