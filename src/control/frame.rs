//! The control socket's framing, which is Gunicorn's: four bytes of length, the most significant first, then so much JSON.

/// More than this is no message of anybody's; Gunicorn's limit.
pub const MAX_MESSAGE: usize = 16 << 20;
/// No command is longer. What is, is read past, not kept.
pub const MAX_REQUEST: usize = 64 << 10;

const PREFIX: usize = 4;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// Its bytes.
    Message(Vec<u8>),
    /// It was longer than [`MAX_REQUEST`].
    TooLong(usize),
}

/// The peer announced more than [`MAX_MESSAGE`]: it does not speak this protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct NotOurs;

/// Bytes as they come, and the messages in them.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// What is still to come of a message that is not kept, and how long that is.
    skipping: Option<(usize, usize)>,
}

impl Frames {
    /// Takes what has come.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if let Some((left, _)) = &mut self.skipping {
            let skipped = bytes.len().min(*left);
            *left -= skipped;
            bytes = &bytes[skipped..];
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, once it is whole.
    pub fn next(&mut self) -> Result<Option<Frame>, NotOurs> {
        if let Some((0, length)) = self.skipping {
            self.skipping = None;
            return Ok(Some(Frame::TooLong(length)));
        }
        let Some(prefix) = self.bytes.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > MAX_MESSAGE {
            return Err(NotOurs);
        }
        if length > MAX_REQUEST {
            let came = (self.bytes.len() - PREFIX).min(length);
            self.bytes.drain(..PREFIX + came);
            self.skipping = Some((length - came, length));
            return if came == length { self.next() } else { Ok(None) };
        }
        if self.bytes.len() < PREFIX + length {
            return Ok(None);
        }
        let message = self.bytes[PREFIX..PREFIX + length].to_vec();
        self.bytes.drain(..PREFIX + length);
        Ok(Some(Frame::Message(message)))
    }
}

/// A message with its prefix.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(frames: &mut Frames) -> Vec<Frame> {
        std::iter::from_fn(|| frames.next().unwrap()).collect()
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let long = vec![b'x'; MAX_REQUEST + 1];
        let stream = [frame(b"{}"), frame(b""), frame(&long), frame(b"last")].concat();
        let expected = || {
            [
                Frame::Message(b"{}".into()),
                Frame::Message(Vec::new()),
                Frame::TooLong(MAX_REQUEST + 1),
                Frame::Message(b"last".into()),
            ]
        };
        for piece in [1, 2, 3, 5, 1000, MAX_REQUEST, stream.len()] {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for bytes in stream.chunks(piece) {
                frames.push(bytes);
                found.extend(messages(&mut frames));
                assert!(frames.bytes.len() <= MAX_REQUEST + PREFIX + piece);
            }
            assert_eq!(found, expected(), "in pieces of {piece}");
        }
    }

    #[test]
    fn another_protocol_is_noticed_at_its_first_bytes() {
        let mut frames = Frames::default();
        frames.push(b"GET / HTTP/1.1\r\n");
        assert_eq!(frames.next(), Err(NotOurs));
    }
}
