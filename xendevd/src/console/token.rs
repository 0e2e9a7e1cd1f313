//! What a descriptor stands for, in the 64 bits that epoll keeps for it.

use h2::DomId;

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// The daemon's main thread wants something.
    Wake,
    /// Records of guests have changed.
    Records,
    /// A guest has printed, or has read input.
    Ring(DomId),
    /// Somebody wants to attach to a guest's console.
    Listener(DomId),
    /// A program that is attached.
    Client(DomId, u32),
}

impl From<Token> for u64 {
    fn from(token: Token) -> Self {
        let (kind, domain, client): (u8, _, _) = match token {
            Token::Wake => (0, DomId::DOM0, 0),
            Token::Records => (1, DomId::DOM0, 0),
            Token::Ring(domain) => (2, domain, 0),
            Token::Listener(domain) => (3, domain, 0),
            Token::Client(domain, client) => (4, domain, client),
        };
        Self::from(kind) << 48 | Self::from(domain.get()) << 32 | Self::from(client)
    }
}

impl From<u64> for Token {
    fn from(data: u64) -> Self {
        let [_, kind, high, low, client @ ..] = data.to_be_bytes();
        let domain = DomId::new(u16::from_be_bytes([high, low])).unwrap_or(DomId::DOM0);
        match kind {
            1 => Self::Records,
            2 => Self::Ring(domain),
            3 => Self::Listener(domain),
            4 => Self::Client(domain, u32::from_be_bytes(client)),
            _ => Self::Wake,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_are_read_back(domain in 0..=DomId::MAX.get(), client: u32, other: u64) {
            let domain = DomId::new(domain).unwrap_or(DomId::DOM0);
            let tokens =
                [
                    Token::Wake,
                    Token::Records,
                    Token::Ring(domain),
                    Token::Listener(domain),
                    Token::Client(domain, client),
                ];
            for token in tokens {
                prop_assert_eq!(Token::from(u64::from(token)), token);
            }
            let _ = Token::from(other);
        }
    }
}
