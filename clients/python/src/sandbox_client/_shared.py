"""What the sync and the async Sandbox have in common: where it is."""

from __future__ import annotations

from dataclasses import dataclass

from ._requests import Query, object_path

# The server itself waits up to 30 s for a Sandbox that sleeps or starts.
OPEN_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """The object whose streams are opened: a claim with one Sandbox by itself, which takes no right
    on Sandboxes and never meets another's, else the Sandbox."""

    namespace: str
    resource: str
    name: str

    def path(self, stream: str) -> str:
        return object_path(self.namespace, self.resource, self.name, stream)


def log_query(
    *,
    follow: bool,
    tail: int | None,
    since_seconds: int | None,
    previous: bool,
    timestamps: bool,
    container: str | None,
) -> Query:
    wanted = {
        "follow": "true" if follow else None,
        "tailLines": tail,
        "sinceSeconds": since_seconds,
        "previous": "true" if previous else None,
        "timestamps": "true" if timestamps else None,
        "container": container,
    }
    return tuple((name, str(value)) for name, value in wanted.items() if value is not None)


def forward_query(port: int) -> Query:
    if not 0 < port < 65536:
        raise ValueError(f"no port: {port}")
    return (("ports", str(port)),)
