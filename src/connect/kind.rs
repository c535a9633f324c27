//! The streams there are, and what each lets through.
//!
//! Parameters: `k8s.io/api/core/v1` PodExecOptions, PodAttachOptions, PodPortForwardOptions and
//! PodLogOptions.

/// One stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Of ours and of the Pod's subresource.
    pub(super) name: &'static str,
    pub(super) methods: &'static [&'static str],
    pub(super) options: &'static str,
    /// The only query parameters that go on.
    pub(super) parameters: &'static [(&'static str, &'static str)],
    /// It switches protocols, and needs a Pod that runs. The other answers with a body.
    pub(super) upgrades: bool,
    /// It is HTTP itself, and all of the request's path, query and body goes on.
    pub(super) takes_path: bool,
}

impl Kind {
    pub(super) fn takes(&self, parameter: &str) -> bool {
        self.parameters.iter().any(|(name, _)| *name == parameter)
    }
}

const CONTAINER: (&str, &str) = (
    "container",
    "The container; if not given, that of the annotation kubectl.kubernetes.io/default-container, \
     or else the first.",
);
const STDIN: (&str, &str) = ("stdin", "Passes on standard input.");
const STDOUT: (&str, &str) = ("stdout", "Passes back standard output.");
const STDERR: (&str, &str) = ("stderr", "Passes back standard error.");
const TTY: (&str, &str) = ("tty", "Allocates a terminal.");

pub(super) const ALL: &[Kind] = &[
    Kind {
        name: "exec",
        methods: &["GET", "POST"],
        options: "SandboxExecOptions",
        parameters: &[
            ("command", "The command with its arguments: one of these for each."),
            CONTAINER,
            STDIN,
            STDOUT,
            STDERR,
            TTY,
        ],
        upgrades: true,
        takes_path: false,
    },
    Kind {
        name: "attach",
        methods: &["GET", "POST"],
        options: "SandboxAttachOptions",
        parameters: &[CONTAINER, STDIN, STDOUT, STDERR, TTY],
        upgrades: true,
        takes_path: false,
    },
    Kind {
        name: "portforward",
        methods: &["GET", "POST"],
        options: "SandboxPortForwardOptions",
        parameters: &[("ports", "Ports, for the oldest form over WebSocket alone.")],
        upgrades: true,
        takes_path: false,
    },
    Kind {
        name: "log",
        methods: &["GET"],
        options: "SandboxLogOptions",
        // Not insecureSkipTLSVerifyBackend: no user may weaken the cluster's own connections.
        parameters: &[
            CONTAINER,
            ("follow", "Goes on with what is written from now on."),
            ("limitBytes", "Ends after so many bytes."),
            ("previous", "Of the container before its last restart."),
            ("sinceSeconds", "Begins so many seconds ago."),
            ("sinceTime", "Begins at this moment, in RFC 3339."),
            ("stream", "All, Stdout or Stderr."),
            ("tailLines", "Begins so many lines before the end."),
            ("timestamps", "Begins each line with its moment."),
        ],
        upgrades: false,
        takes_path: false,
    },
    // The methods of `[kubernetes] pkg/registry/core/pod/rest/subresources.go` ProxyREST.
    Kind {
        name: "proxy",
        methods: &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"],
        options: "SandboxProxyOptions",
        parameters: &[("path", "Goes on like every other parameter.")],
        upgrades: true,
        takes_path: true,
    },
];
