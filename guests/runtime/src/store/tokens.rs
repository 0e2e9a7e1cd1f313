//! Tokens: who of this guest a watch that fires is for.
//!
//! The plane hands them out, so that no two watches have one, and takes them back: a [`Claim`] that
//! is dropped gives up its token wherever that happens, without the plane at hand. From then on
//! nothing is ready because of it; what comes for it is nobody's.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::{StoreError, Token};

/// The tokens of this guest. A guest has one plane.
pub(crate) static TOKENS: Tokens = Tokens::new();

/// Which tokens somebody has.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// A bit for each.
    live: AtomicU32,
    /// Where the search for a free one begins: one that was given up is used again as late as
    /// possible, since its watch may still be known to xenstored.
    next: AtomicU8,
}

impl Tokens {
    pub(crate) const fn new() -> Tokens {
        Tokens { live: AtomicU32::new(0), next: AtomicU8::new(0) }
    }

    /// A bit for each token that somebody has.
    pub(crate) fn live(&self) -> u32 {
        self.live.load(Ordering::Relaxed)
    }

    /// Takes a free token.
    pub(crate) fn claim(&'static self) -> Result<Claim, StoreError> {
        let (live, next) = (self.live(), self.next.load(Ordering::Relaxed));
        let mut numbers = (0..Token::COUNT).map(|number| (next + number) % Token::COUNT);
        let free = numbers.find(|&number| live & Token::new(number).bit() == 0);
        let token = Token::new(free.ok_or(StoreError::NoToken)?);
        self.live.store(live | token.bit(), Ordering::Relaxed);
        self.next.store((token.number() + 1) % Token::COUNT, Ordering::Relaxed);
        Ok(Claim { token, tokens: self })
    }
}

/// A token that is somebody's until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    token: Token,
    tokens: &'static Tokens,
}

impl Claim {
    pub(crate) fn token(&self) -> Token {
        self.token
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.tokens.live.fetch_and(!self.token.bit(), Ordering::Relaxed);
    }
}

/// Something of the plane's that is watched. Dropping it ends that, too, only later than
/// [`Plane::unwatch`](crate::Plane::unwatch).
#[derive(Debug)]
pub struct Watch {
    path: &'static str,
    claim: Claim,
}

impl Watch {
    pub(crate) fn new(path: &'static str, claim: Claim) -> Watch {
        Watch { path, claim }
    }

    pub(crate) fn path(&self) -> &'static str {
        self.path
    }

    pub(crate) fn token(&self) -> Token {
        self.claim.token
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_token_has_one_owner() {
        let tokens: &'static Tokens = Box::leak(Box::new(Tokens::new()));
        let mut claims: Vec<_> = (0..Token::COUNT).map(|_| tokens.claim().unwrap()).collect();
        let mut numbers: Vec<_> = claims.iter().map(|claim| claim.token().number()).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), usize::from(Token::COUNT));
        assert_eq!(tokens.claim().unwrap_err(), StoreError::NoToken);
        assert_eq!(tokens.live(), u32::MAX);
        let given_back = claims.swap_remove(5);
        let number = given_back.token().number();
        drop(given_back);
        assert_eq!(tokens.claim().unwrap().token().number(), number);
        claims.clear();
        assert_eq!(tokens.live(), 0);
    }

    #[test]
    fn what_was_given_up_is_used_again_last() {
        let tokens: &'static Tokens = Box::leak(Box::new(Tokens::new()));
        let first = tokens.claim().unwrap().token();
        let others: Vec<_> = (1..Token::COUNT).map(|_| tokens.claim().unwrap()).collect();
        assert!(others.iter().all(|claim| claim.token() != first));
        assert_eq!(tokens.claim().unwrap().token(), first);
    }
}
