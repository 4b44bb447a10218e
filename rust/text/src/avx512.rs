//! x86-64 with AVX-512 F, BW and VNNI: a register for sixteen lanes, one instruction for 64 products.
//!
//! `vpdpbusd` runs once a cycle on Zen 4 with a latency of 5; the 24 sums of a tile hide that. The weights of a tile
//! come from memory once and are used twelve times.

use std::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm_storeu_si128, _mm512_abs_ps, _mm512_add_epi32, _mm512_add_ps,
    _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cvtepi32_epi8, _mm512_cvtepi32_ps,
    _mm512_cvtps_epi32, _mm512_div_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_slli_epi32, _mm512_storeu_ps, _mm512_sub_ps,
};

use crate::lanes::Lanes;

/// Exists only where AVX-512 F, BW and VNNI do.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

// SAFETY of every block below: `detect` saw the instruction set before it made `self`; loads and stores need no
// alignment and stay within the array of the reference.
#[expect(clippy::undocumented_unsafe_blocks, reason = "one reason for all, in the comment above")]
impl Lanes for Avx512 {
    type Floats = __m512;
    type Ints = __m512i;
    const TILE: (usize, usize) = (12, 2);

    fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        found.then_some(Self(()))
    }
    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> __m512 {
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, floats: __m512, to: &mut [f32; 16]) {
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), floats) }
    }
    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn subtract(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn multiply(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn divide(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn greater(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn lesser(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn magnitude(self, a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    fn with_sign(self, magnitude: __m512, sign: __m512) -> __m512 {
        unsafe {
            let bit = _mm512_and_si512(_mm512_castps_si512(sign), _mm512_set1_epi32(i32::MIN));
            _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(magnitude), bit))
        }
    }
    #[inline(always)]
    fn round(self, floats: __m512) -> __m512i {
        unsafe { _mm512_cvtps_epi32(floats) }
    }
    #[inline(always)]
    fn to_floats(self, ints: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(ints) }
    }
    #[inline(always)]
    fn power_of_two(self, ints: __m512i) -> __m512 {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(ints, _mm512_set1_epi32(127)))) }
    }
    #[inline(always)]
    fn load_ints(self, from: &[i32; 16]) -> __m512i {
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn splat_int(self, value: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(value) }
    }
    #[inline(always)]
    fn add_ints(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn store_bytes(self, ints: __m512i, to: &mut [u8; 16]) {
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(ints)) }
    }
    #[inline(always)]
    fn prefetch(self, weights: &[i8; 64]) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(weights.as_ptr()) }
    }
    #[inline(always)]
    fn add_products(self, sums: __m512i, row: [u8; 4], weights: &[i8; 64]) -> __m512i {
        unsafe {
            let row = _mm512_set1_epi32(i32::from_le_bytes(row));
            _mm512_dpbusd_epi32(sums, row, _mm512_loadu_si512(weights.as_ptr().cast()))
        }
    }
}
