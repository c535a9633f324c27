//! What the cluster says last of a command over SPDY/3.1: section 2.2 of its third draft for the
//! frames. Nothing else of them is understood.

use super::status::Status;

/// Of every frame: what it is, flags, and a length of three bytes.
const HEADER: usize = 8;
/// The stream of a command's Status: client-go opens it first, and a client's streams have the odd
/// numbers (`[client-go] tools/remotecommand/v2.go`, `v4.go`).
const STATUS_STREAM: u32 = 1;

/// Follows a server's frames byte by byte.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    /// Bytes of the header so far.
    read: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
    /// They are the Status's.
    is_status: bool,
    status: Status,
}

impl Frames {
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= payload.len();
                if self.is_status {
                    self.status.extend(payload);
                }
                bytes = rest;
                continue;
            }
            self.header[self.read] = bytes[0];
            self.read += 1;
            bytes = &bytes[1..];
            if self.read == HEADER {
                self.read = 0;
                let [a, b, c, d, _, e, f, g] = self.header;
                self.left = usize::from(e) << 16 | usize::from(f) << 8 | usize::from(g);
                // With its first bit set it is not of a stream but the protocol's own.
                self.is_status = u32::from_be_bytes([a, b, c, d]) == STATUS_STREAM;
            }
        }
    }

    pub(super) fn exit_code(&self) -> Option<i64> {
        self.status.exit_code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_status_stream() {
        let frame = |head: [u8; 4], payload: &str| {
            let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
            [&head[..], &[0], &length[1..], payload.as_bytes()].concat()
        };
        let success = r#"{"metadata":{},"status":"Success"}"#;
        let seven = r#"{"status":"Failure","reason":"NonZeroExitCode",
            "details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        let reply = frame([0x80, 3, 0, 2], "headers");
        let ping = frame([0x80, 3, 0, 6], "\0\0\0\u{1}");
        let long = "x".repeat(70_000);
        for (stream, expected) in [
            ([reply.clone(), frame([0, 0, 0, 1], seven)].concat(), Some(7)),
            (frame([0, 0, 0, 1], success), Some(0)),
            (
                [
                    frame([0, 0, 0, 5], &long),
                    frame([0, 0, 0, 1], &seven[..9]),
                    ping.clone(),
                    frame([0, 0, 0, 1], &seven[9..]),
                    frame([0, 0, 0, 1], ""),
                ]
                .concat(),
                Some(7),
            ),
            ([frame([0, 0, 0, 5], seven), frame([0, 0, 0, 1], success)].concat(), Some(0)),
            (frame([0, 0, 0, 3], success), None),
            (frame([0x80, 0, 0, 1], success), None),
            (reply, None),
            (Vec::new(), None),
        ] {
            for piece in [1, 5, 4096, 100_000] {
                let mut frames = Frames::default();
                stream.chunks(piece).for_each(|part| frames.pass(part));
                assert_eq!(frames.exit_code(), expected);
            }
        }
    }
}
