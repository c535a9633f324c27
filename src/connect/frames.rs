//! Where a WebSocket's frames end, so that a last one can be added: RFC 6455 sections 5.2 and 5.5.
//! Nothing else of them is understood.

/// The longest header: two bytes, a length of eight. A server masks nothing.
const HEADER_MAX: usize = 10;
/// Of a control frame.
const PAYLOAD_MAX: usize = 125;
/// FIN and the opcode of a close.
const CLOSE: u8 = 0x88;

/// Follows a server's frames byte by byte.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER_MAX],
    /// Bytes of the header so far.
    read: usize,
    /// Bytes of the payload that are still to come.
    left: u64,
}

impl Frames {
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= count as u64;
                bytes = &bytes[count..];
                continue;
            }
            self.header[self.read] = bytes[0];
            self.read += 1;
            bytes = &bytes[1..];
            if let Some(length) = self.length() {
                self.left = length;
                self.read = 0;
            }
        }
    }

    /// Of the payload, once the header is whole.
    fn length(&self) -> Option<u64> {
        let extended = |count: usize| {
            let bytes = self.header.get(2..2 + count).filter(|_| self.read == 2 + count)?;
            Some(bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
        };
        match self.header[1] & 0x7f {
            _ if self.read < 2 => None,
            126 => extended(2),
            127 => extended(8),
            length => Some(length.into()),
        }
    }

    /// Whether a frame may begin here.
    pub(super) fn is_between(&self) -> bool {
        self.read == 0 && self.left == 0
    }
}

/// A close with its reason, which is cut to what fits.
pub(super) fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(PAYLOAD_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let length = u8::try_from(end + 2).unwrap_or_default();
    let mut frame = vec![CLOSE, length];
    frame.extend(code.to_be_bytes());
    frame.extend(&reason.as_bytes()[..end]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_followed_in_whatever_pieces_they_come() {
        let frame = |header: &[u8], length: usize| [header, &vec![7; length]].concat();
        let all = [
            frame(&[0x82, 0], 0),
            frame(&[0x82, 5], 5),
            frame(&[0x02, 126, 1, 0], 256),
            frame(&[0x80, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536),
            frame(&[0x8a, 125], 125),
        ];
        let ends: Vec<usize> = all
            .iter()
            .scan(0, |sum, frame| {
                *sum += frame.len();
                Some(*sum)
            })
            .collect();
        let bytes = all.concat();
        for piece in [1, 2, 3, 7, 1000, bytes.len()] {
            let (mut frames, mut at) = (Frames::default(), 0);
            for part in bytes.chunks(piece) {
                frames.pass(part);
                at += part.len();
                assert_eq!(frames.is_between(), ends.contains(&at), "{at} in pieces of {piece}");
            }
        }
        assert!(Frames::default().is_between());
    }

    #[test]
    fn a_close_is_a_whole_frame() {
        assert_eq!(close(1001, "gone"), [0x88, 6, 3, 233, b'g', b'o', b'n', b'e']);
        let long = close(1008, &"ä".repeat(100));
        assert_eq!((long.len(), long[1]), (2 + 2 + 122, 124));
        assert!(std::str::from_utf8(&long[4..]).is_ok());
        let mut frames = Frames::default();
        frames.pass(&long);
        assert!(frames.is_between());
    }
}
