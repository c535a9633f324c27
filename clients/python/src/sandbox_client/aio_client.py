"""The async client."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

from typing_extensions import Unpack

from . import _claims
from ._aio_transport import AsyncTransport
from ._claims import ClaimOptions
from ._requests import Retry
from ._shared import Target
from .aio_sandbox import AsyncGang, AsyncSandbox
from .client import bound_name
from .models import ClaimInfo

H = TypeVar("H", bound=AsyncSandbox | AsyncGang)


class Claiming(Generic[H]):
    """A claim to be made: `async with` it to have it released at the end, or `await` it."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, H]]) -> None:
        self._make = make
        self._held: H | None = None

    def __await__(self) -> Generator[Any, None, H]:
        return self._make().__await__()

    async def __aenter__(self) -> H:
        self._held = await self._make()
        return self._held

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._held is not None:
            await self._held.__aexit__(kind, error, trace)


class AsyncSandboxClient:
    """Claims Sandboxes and finds those that are there, from one event loop.

    The cluster is that of `kubeconfig` and `context`, else of $KUBECONFIG, else of the Pod's
    service account, else of ~/.kube/config; or that of an `api_client` of kubernetes.aio. The
    namespace is `namespace`, else the context's or the Pod's. Close it, or use `async with`."""

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
        self._transport = AsyncTransport(api_client, retry or Retry(), kubeconfig, context)
        self._container = container
        self._namespace = namespace

    async def namespace(self) -> str:
        """Where it claims."""
        await self._transport.ready()
        return self._namespace or self._transport.namespace

    def claim(
        self, pool: str | None = None, **options: Unpack[ClaimOptions]
    ) -> Claiming[AsyncSandbox]:
        """Claims one Sandbox of a warm pool, or of a template: from stock where there is some.
        ClaimOptions has the options.

        It is repeated while the server can't be reached, and never makes two claims of one call.
        Leaving `async with` deletes the claim, unless `release` is False."""

        async def make() -> AsyncSandbox:
            asked = _claims.order(await self.namespace(), pool, 1, options)
            claim = await self._transport.run(_claims.claim(asked, self._transport.retry))
            return self._of(claim, not asked.keep)

        return Claiming(make)

    def claim_gang(
        self, pool: str | None = None, *, replicas: int, **options: Unpack[ClaimOptions]
    ) -> Claiming[AsyncGang]:
        """Claims that many Sandboxes or none. As claim() in all else."""

        async def make() -> AsyncGang:
            asked = _claims.order(await self.namespace(), pool, replicas, options)
            claim = await self._transport.run(_claims.claim(asked, self._transport.retry))
            return AsyncGang(self._transport, claim, not asked.keep, self._container)

        return Claiming(make)

    def attach(
        self, claim: str, *, release: bool = False, timeout: float = 30.0
    ) -> Claiming[AsyncSandbox]:
        """The Sandbox of a claim that is there, for example one that another process kept. Leaving
        `async with` keeps it, unless `release` is True."""

        async def make() -> AsyncSandbox:
            return self._of(await self.get_claim(claim, timeout=timeout), release)

        return Claiming(make)

    async def get_claim(self, name: str, *, timeout: float = 30.0) -> ClaimInfo:
        """A claim as it is now."""
        op = _claims.fetch(await self.namespace(), name, self._transport.retry, timeout)
        return await self._transport.run(op)

    async def sandbox(self, name: str) -> AsyncSandbox:
        """A Sandbox by its name, whoever made it. Asks nothing of the server yet."""
        namespace = await self.namespace()
        return AsyncSandbox(self._transport, namespace, name, container=self._container)

    def _of(self, claim: ClaimInfo, release: bool) -> AsyncSandbox:
        return AsyncSandbox(
            self._transport,
            claim.namespace,
            bound_name(claim),
            claim=claim,
            target=Target(claim.namespace, "sandboxclaims", claim.name),
            release=release,
            container=self._container,
        )

    async def close(self) -> None:
        """Ends the connections. Claims stay as they are."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncSandboxClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
