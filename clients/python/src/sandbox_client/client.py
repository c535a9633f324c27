"""The sync client."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from typing_extensions import Unpack

from . import _claims, _config
from ._claims import ClaimOptions
from ._requests import Retry
from ._shared import Target
from ._transport import Transport
from .errors import Conflict
from .models import ClaimInfo
from .sandbox import Gang, Sandbox


class SandboxClient:
    """Claims Sandboxes and finds those that are there. It may be shared by threads.

    The cluster is that of `kubeconfig` and `context`, else of $KUBECONFIG, else of the Pod's
    service account, else of ~/.kube/config; or that of an `api_client` of the official client. The
    namespace is `namespace`, else the context's or the Pod's."""

    def __init__(
        self,
        namespace: str | None = None,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        api_client: Any = None,
        container: str | None = None,
        retry: Retry | None = None,
    ) -> None:
        found = "default"
        owned = api_client is None
        if owned:
            api_client, found = _config.load(kubeconfig, context)
        self._transport = Transport(api_client, retry or Retry(), owned)
        self._container = container
        self.namespace = namespace or found

    def claim(self, pool: str | None = None, **options: Unpack[ClaimOptions]) -> Sandbox:
        """Claims one Sandbox of a warm pool, or of a template: from stock where there is some.
        ClaimOptions has the options.

        It is repeated while the server can't be reached, and never makes two claims of one call.
        Leaving `with` deletes the claim, unless `release` is False."""
        asked = _claims.order(self.namespace, pool, 1, options)
        claim = self._transport.run(_claims.claim(asked, self._transport.retry))
        return self._of(claim, not asked.keep)

    def claim_gang(
        self, pool: str | None = None, *, replicas: int, **options: Unpack[ClaimOptions]
    ) -> Gang:
        """Claims that many Sandboxes or none. As claim() in all else."""
        asked = _claims.order(self.namespace, pool, replicas, options)
        claim = self._transport.run(_claims.claim(asked, self._transport.retry))
        return Gang(self._transport, claim, not asked.keep, self._container)

    def attach(self, claim: str, *, release: bool = False, timeout: float = 30.0) -> Sandbox:
        """The Sandbox of a claim that is there, for example one that another process kept. Leaving
        `with` keeps it, unless `release` is True."""
        return self._of(self.get_claim(claim, timeout=timeout), release)

    def get_claim(self, name: str, *, timeout: float = 30.0) -> ClaimInfo:
        """A claim as it is now."""
        retry = self._transport.retry
        return self._transport.run(_claims.fetch(self.namespace, name, retry, timeout))

    def sandbox(self, name: str) -> Sandbox:
        """A Sandbox by its name, whoever made it. Asks nothing of the server yet."""
        return Sandbox(self._transport, self.namespace, name, container=self._container)

    def _of(self, claim: ClaimInfo, release: bool) -> Sandbox:
        return Sandbox(
            self._transport,
            claim.namespace,
            bound_name(claim),
            claim=claim,
            target=Target(claim.namespace, "sandboxclaims", claim.name),
            release=release,
            container=self._container,
        )

    def close(self) -> None:
        """Ends idle connections. Claims stay as they are."""
        self._transport.close()

    def __enter__(self) -> SandboxClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def bound_name(claim: ClaimInfo) -> str:
    if claim.sandbox is None:
        raise Conflict(409, "Conflict", f'the claim "{claim.name}" is not bound to a Sandbox yet')
    return claim.sandbox.name
