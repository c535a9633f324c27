"""Client of sandbox-apiserver: claim a sandbox, run commands in it, move files, forward ports.

with SandboxClient().claim("pool") as sbx:
    print(sbx.run("echo hello").stdout)
"""

from ._aio_exec import AsyncExecStream
from ._aio_files import AsyncFiles
from ._aio_forward import AsyncPortForward
from ._claims import ClaimOptions
from ._exec import ExecStream
from ._files import Files
from ._forward import PortForward
from ._requests import Retry
from .aio_client import AsyncSandboxClient
from .aio_sandbox import AsyncGang, AsyncSandbox
from .client import SandboxClient
from .errors import (
    AlreadyExists,
    ApiError,
    ClaimTimeout,
    CommandError,
    CommandFailed,
    CommandNotFound,
    ConfigError,
    Conflict,
    ConnectionFailed,
    Forbidden,
    Invalid,
    NoShell,
    NoTar,
    NotFound,
    OutputTooLarge,
    PoolExhausted,
    RemoteFileError,
    RemoteFileNotFound,
    SandboxError,
    ServerTimeout,
    StreamClosed,
    StreamError,
    StreamTimeout,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsafeArchive,
    WaitTimeout,
)
from .models import (
    BoundSandbox,
    Chunk,
    ClaimInfo,
    Condition,
    FileInfo,
    Lifecycle,
    OnEmptyPool,
    Result,
    SandboxInfo,
    ShutdownPolicy,
    Wait,
)
from .sandbox import Gang, Sandbox

__all__ = [
    "AlreadyExists",
    "ApiError",
    "AsyncExecStream",
    "AsyncFiles",
    "AsyncGang",
    "AsyncPortForward",
    "AsyncSandbox",
    "AsyncSandboxClient",
    "BoundSandbox",
    "Chunk",
    "ClaimInfo",
    "ClaimOptions",
    "ClaimTimeout",
    "CommandError",
    "CommandFailed",
    "CommandNotFound",
    "Condition",
    "ConfigError",
    "Conflict",
    "ConnectionFailed",
    "ExecStream",
    "FileInfo",
    "Files",
    "Forbidden",
    "Gang",
    "Invalid",
    "Lifecycle",
    "NoShell",
    "NoTar",
    "NotFound",
    "OnEmptyPool",
    "OutputTooLarge",
    "PoolExhausted",
    "PortForward",
    "RemoteFileError",
    "RemoteFileNotFound",
    "Result",
    "Retry",
    "Sandbox",
    "SandboxClient",
    "SandboxError",
    "SandboxInfo",
    "ServerTimeout",
    "ShutdownPolicy",
    "StreamClosed",
    "StreamError",
    "StreamTimeout",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnsafeArchive",
    "Wait",
    "WaitTimeout",
]
