"""What users need of the server's objects, typed; the rest is in `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

Wait = Literal["ready", "bound"]
OnEmptyPool = Literal["ColdStart", "Fail", "Wait"]
ShutdownPolicy = Literal["Retain", "Delete", "DeleteForeground"]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a Sandbox or a claim."""

    type: str
    status: str
    reason: str
    message: str

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Condition:
        return cls(*(str(raw.get(key, "")) for key in ("type", "status", "reason", "message")))


@dataclass(frozen=True, slots=True)
class BoundSandbox:
    """The Sandbox of a claim, with what it takes to reach it."""

    name: str
    uid: str
    launch_type: str
    """Warm (from stock) or Cold (made for the claim)."""
    pod_ips: tuple[str, ...]
    node_name: str
    service_fqdn: str

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> BoundSandbox:
        return cls(
            name=raw.get("name", ""),
            uid=raw.get("uid", ""),
            launch_type=raw.get("launchType", ""),
            pod_ips=tuple(raw.get("podIPs") or ()),
            node_name=raw.get("nodeName", ""),
            service_fqdn=raw.get("serviceFQDN", ""),
        )


@dataclass(frozen=True, slots=True)
class ClaimInfo:
    """A SandboxClaim as the server last told."""

    name: str
    namespace: str
    uid: str
    pool: str
    template: str
    idempotency_key: str
    conditions: tuple[Condition, ...]
    sandboxes: tuple[BoundSandbox, ...]
    """All Sandboxes of the claim; empty until it is bound."""
    bound_time: datetime | None
    queue_position: int | None
    """How many claims are served before this one, while it waits for stock."""
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> ClaimInfo:
        meta, spec, status = (raw.get(key) or {} for key in ("metadata", "spec", "status"))
        first = status.get("sandbox")
        bound = status.get("sandboxes") or ([first] if first else [])
        return cls(
            name=meta.get("name", ""),
            namespace=meta.get("namespace", ""),
            uid=meta.get("uid", ""),
            pool=(spec.get("warmPoolRef") or {}).get("name", ""),
            template=(spec.get("sandboxTemplateRef") or {}).get("name", ""),
            idempotency_key=spec.get("idempotencyKey", ""),
            conditions=_conditions(status),
            sandboxes=tuple(BoundSandbox.of(one) for one in bound),
            bound_time=_time(status.get("boundTime")),
            queue_position=status.get("queuePosition"),
            raw=raw,
        )

    @property
    def sandbox(self) -> BoundSandbox | None:
        """The first Sandbox of the claim."""
        return self.sandboxes[0] if self.sandboxes else None

    @property
    def ready(self) -> Condition | None:
        return _find(self.conditions, "Ready")


@dataclass(frozen=True, slots=True)
class SandboxInfo:
    """A Sandbox as the server last told."""

    name: str
    namespace: str
    uid: str
    phase: str
    """Pending, Running, Suspending, Suspended, Resuming, Succeeded, Failed or Expired."""
    conditions: tuple[Condition, ...]
    pod_name: str
    pod_ips: tuple[str, ...]
    node_name: str
    service_fqdn: str
    start_time: datetime | None
    suspended_time: datetime | None
    last_activity_time: datetime | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> SandboxInfo:
        meta, status = (raw.get(key) or {} for key in ("metadata", "status"))
        return cls(
            name=meta.get("name", ""),
            namespace=meta.get("namespace", ""),
            uid=meta.get("uid", ""),
            phase=status.get("phase", ""),
            conditions=_conditions(status),
            pod_name=status.get("podName", ""),
            pod_ips=tuple(status.get("podIPs") or ()),
            node_name=status.get("nodeName", ""),
            service_fqdn=status.get("serviceFQDN", ""),
            start_time=_time(status.get("startTime")),
            suspended_time=_time(status.get("suspendedTime")),
            last_activity_time=_time(status.get("lastActivityTime")),
            raw=raw,
        )

    @property
    def ready(self) -> Condition | None:
        return _find(self.conditions, "Ready")


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """When a claim ends by itself, and what becomes of it then. It also bounds what a crashed
    client leaves behind."""

    shutdown_time: datetime | None = None
    ttl_seconds_after_finished: int | None = None
    shutdown_policy: ShutdownPolicy | None = None

    def to_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = {}
        if self.shutdown_time is not None:
            if self.shutdown_time.tzinfo is None:
                raise ValueError("shutdown_time needs a time zone")
            utc = self.shutdown_time.astimezone(timezone.utc)
            spec["shutdownTime"] = utc.strftime("%Y-%m-%dT%H:%M:%SZ")
        if self.ttl_seconds_after_finished is not None:
            spec["ttlSecondsAfterFinished"] = self.ttl_seconds_after_finished
        if self.shutdown_policy is not None:
            spec["shutdownPolicy"] = self.shutdown_policy
        return spec


@dataclass(frozen=True, slots=True)
class Result:
    """What a command said, and its exit code."""

    exit_code: int
    stdout_bytes: bytes = field(repr=False)
    stderr_bytes: bytes = field(repr=False)

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode(errors="replace")

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a command's output, as it came: it may end in the middle of a character."""

    stream: Literal["stdout", "stderr"]
    data: bytes

    @property
    def text(self) -> str:
        return self.data.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """An entry of a folder in the Sandbox; of a symbolic link, the link itself."""

    name: str
    type: Literal["file", "directory", "symlink", "other"]
    size: int
    mode: int
    """Permission bits."""
    modified: datetime


def _conditions(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    return tuple(Condition.of(raw) for raw in status.get("conditions") or ())


def _find(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == kind), None)


def _time(text: str | None) -> datetime | None:
    # fromisoformat of Python 3.10 does not know "Z".
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
