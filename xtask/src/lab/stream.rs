//! The end of a byte stream that others may go on writing to.
//!
//! A port of the lab host never ends while the host lives, so the agent writes a mark behind the
//! last byte that counts.

/// What was read so far and is not passed on yet.
#[derive(Debug)]
pub(crate) struct Marked {
    mark: Vec<u8>,
    pending: Vec<u8>,
    ended: bool,
}

impl Marked {
    pub(crate) fn new(mark: &[u8]) -> Self {
        Marked { mark: mark.to_vec(), pending: Vec::new(), ended: false }
    }

    /// Takes `bytes` and returns what can be passed on: all that comes before the mark and cannot
    /// be its beginning.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.ended {
            return Vec::new();
        }
        self.pending.extend_from_slice(bytes);
        let found = self.pending.windows(self.mark.len()).position(|window| window == self.mark);
        if let Some(at) = found {
            self.ended = true;
            self.pending.truncate(at);
            return std::mem::take(&mut self.pending);
        }
        let longest = self.mark.len().saturating_sub(1).min(self.pending.len());
        let held = (0..=longest)
            .rev()
            .find(|&length| self.pending.ends_with(&self.mark[..length]))
            .unwrap_or(0);
        let rest = self.pending.split_off(self.pending.len() - held);
        std::mem::replace(&mut self.pending, rest)
    }

    /// Whether the mark has come.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::Marked;

    #[test]
    fn the_mark_ends_the_stream_wherever_it_is_cut() {
        let text = b"one\0two\0MA\0MARK\0ignored";
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut stream = Marked::new(b"\0MARK\0");
                let mut passed = stream.feed(&text[..first]);
                passed.extend(stream.feed(&text[first..second]));
                passed.extend(stream.feed(&text[second..]));
                assert_eq!(passed, b"one\0two\0MA");
                assert!(stream.ended());
            }
        }
    }

    #[test]
    fn what_cannot_be_the_mark_is_not_held_back() {
        let mut stream = Marked::new(b"\0MARK\0");
        assert_eq!(stream.feed(b"prompt> "), b"prompt> ");
        assert_eq!(stream.feed(b"\0MA"), b"");
        assert_eq!(stream.feed(b"X"), b"\0MAX");
        assert!(!stream.ended());
    }
}
