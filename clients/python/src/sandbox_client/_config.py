"""Where the cluster is and who we are, by the rules of kubectl. The official client's loaders are
not typed: what is untyped stays here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config

from .errors import ConfigError

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_DEFAULT = "~/.kube/config"


def _file(kubeconfig: str | None) -> str | None:
    """A kubeconfig, or None in a Pod: the one that was asked for, else that of the environment,
    else the Pod's service account, else the home folder's."""
    named = kubeconfig or os.environ.get("KUBECONFIG")
    if named:
        return named
    if os.environ.get("KUBERNETES_SERVICE_HOST") and (_SERVICE_ACCOUNT / "token").exists():
        return None
    if Path(_DEFAULT).expanduser().exists():
        return str(Path(_DEFAULT).expanduser())
    raise ConfigError(f"no KUBECONFIG, no service account of a Pod, and no {_DEFAULT}")


def _namespace(file: str | None, context: str | None) -> str:
    if file is None:
        return (_SERVICE_ACCOUNT / "namespace").read_text().strip() or "default"
    contexts, active = config.list_kube_config_contexts(config_file=file)
    chosen = next((one for one in contexts if one["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")


def load(kubeconfig: str | None, context: str | None) -> tuple[Any, str]:
    """An ApiClient, and the namespace."""
    try:
        file = _file(kubeconfig)
        settings: Any = client.Configuration()
        if file is None:
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(
                config_file=file, context=context, client_configuration=settings
            )
        # There is one place that decides about repeating, and it is not this one.
        settings.retries = urllib3.Retry(0, redirect=False)
        return client.ApiClient(settings), _namespace(file, context)
    except config.ConfigException as error:
        raise ConfigError(str(error)) from error


async def load_async(kubeconfig: str | None, context: str | None) -> tuple[Any, str]:
    """The same of the asyncio client."""
    try:
        file = _file(kubeconfig)
        settings: Any = aio_client.Configuration()
        if file is None:
            aio_config.load_incluster_config(client_configuration=settings)
        else:
            await aio_config.load_kube_config(
                config_file=file, context=context, client_configuration=settings
            )
        return aio_client.ApiClient(settings), _namespace(file, context)
    except (aio_config.ConfigException, config.ConfigException) as error:
        raise ConfigError(str(error)) from error
