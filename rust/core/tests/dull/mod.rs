//! The dullest code that can be right, and reproducible input.

#![allow(dead_code, missing_docs, reason = "each test file uses its part")]

use bsc_core::Isa;

/// Number of differing bits, one bit at a time.
pub fn distance(a: &[u64], b: &[u64]) -> u32 {
    let differs = |bit: usize| (a[bit / 64] >> (bit % 64) ^ b[bit / 64] >> (bit % 64)) & 1 == 1;
    u32::try_from((0..a.len() * 64).filter(|&bit| differs(bit)).count()).unwrap()
}

/// splitmix64: every run sees the same numbers.
/// Source: Steele, Lea, Flood 2014, figure 13.
pub struct Random(pub u64);

impl Random {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.word() % u64::try_from(end).unwrap()).unwrap()
    }

    pub fn words(&mut self, n: usize) -> Vec<u64> {
        (0..n).map(|_| self.word()).collect()
    }

    /// Between -1 and 1, every bit of the mantissa in use.
    pub fn float(&mut self) -> f32 {
        #[allow(clippy::cast_precision_loss, reason = "rounding is welcome")]
        let unit = (self.word() >> 40) as f32 / 16_777_216.0;
        unit * 2.0 - 1.0
    }

    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// The instruction sets to test; the others are printed as skipped.
pub fn isas() -> Vec<Isa> {
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        println!("skipped: {} is not available on this machine", isa.name());
    }
    Isa::available()
}
