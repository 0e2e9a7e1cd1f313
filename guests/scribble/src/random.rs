//! Numbers that nobody foresees, but that come again with the same seed: xorshift64*.

/// A generator.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        // The generator stands still at zero.
        Random(seed.wrapping_mul(2) | 1)
    }

    pub(crate) fn word(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let [_, _, _, _, high @ ..] = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        u32::from_le_bytes(high)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.word() as usize % bound
    }

    /// One of them; `choices` is not empty.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Mostly numbers at which something ends.
    pub(crate) fn nasty(&mut self) -> u32 {
        const EDGES: [u32; 18] = [
            0,
            1,
            2,
            3,
            4,
            5,
            63,
            64,
            512,
            513,
            1464,
            2551,
            2552,
            2553,
            4096,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX,
        ];
        if self.below(4) == 0 { self.word() } else { self.pick(&EDGES) }
    }
}
