//! The instruction sets that kernels are written for, and which of them this machine has.

use crate::Error;

/// An instruction set. Each kernel gives the same results; they differ in speed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Portable code, the definition that the others are tested against.
    Scalar,
    /// x86-64 with POPCNT (SSE4.2).
    Popcnt,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, VPOPCNTDQ and BITALG: Intel from Ice Lake, AMD from Zen 4 on.
    Avx512,
    /// aarch64 with NEON.
    Neon,
}

impl Isa {
    /// Every instruction set, slowest first within an architecture.
    pub const ALL: [Self; 5] = [Self::Scalar, Self::Popcnt, Self::Avx2, Self::Avx512, Self::Neon];

    /// The name that `BSC_ISA` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Popcnt => "popcnt",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// Whether this machine can run it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Popcnt => is_x86_feature_detected!("popcnt"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("popcnt")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vpopcntdq")
                    && is_x86_feature_detected!("avx512bitalg")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            _ => false,
        }
    }

    /// The instruction sets of this machine, slowest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest instruction set of this machine.
    #[must_use]
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Scalar)
    }

    /// The instruction set called `name`.
    ///
    /// # Errors
    ///
    /// [`Error::Isa`], listing the available names, when it is unknown or this machine does not have it.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        let wanted = name.trim().to_ascii_lowercase();
        Self::available().into_iter().find(|isa| isa.name() == wanted).ok_or_else(|| Error::Isa {
            asked: name.to_owned(),
            available: Self::available().iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The instruction set that `BSC_ISA` names; the fastest one when the variable is unset or empty.
    ///
    /// # Errors
    ///
    /// As [`Isa::from_name`].
    pub fn from_environment() -> Result<Self, Error> {
        match std::env::var("BSC_ISA") {
            Ok(name) if !name.trim().is_empty() => Self::from_name(&name),
            _ => Ok(Self::best()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_is_always_available_and_listed_first() {
        assert_eq!(Isa::available()[0], Isa::Scalar);
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn neon_is_the_fastest_on_aarch64() {
        assert_eq!(Isa::best(), Isa::Neon);
    }

    #[test]
    fn an_unknown_name_lists_the_available_ones() {
        let message = Isa::from_name("mmx").unwrap_err().to_string();
        assert!(message.contains("scalar") && message.contains("\"mmx\""), "{message}");
    }

    #[test]
    fn names_are_read_without_regard_to_case_and_blanks() {
        assert_eq!(Isa::from_name(" Scalar "), Ok(Isa::Scalar));
    }
}
