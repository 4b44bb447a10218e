//! x86-64 with AVX2 and FMA: two registers for sixteen lanes, three instructions for 32 products.

use std::arch::x86_64::{
    __m256, __m256i, _MM_HINT_T0, _mm_packus_epi16, _mm_prefetch, _mm_storeu_si128, _mm256_add_epi32,
    _mm256_add_ps, _mm256_and_ps, _mm256_andnot_ps, _mm256_castsi256_ps, _mm256_castsi256_si128,
    _mm256_cvtepi32_ps, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_extracti128_si256, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_ps, _mm256_min_ps,
    _mm256_mul_ps, _mm256_or_ps, _mm256_packs_epi32, _mm256_permute4x64_epi64, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_sub_ps,
};

use crate::lanes::Lanes;

/// Exists only where AVX2 and FMA do.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

/// The first eight lanes and the last eight.
type Two<T> = [T; 2];

// SAFETY of every block below: `detect` saw the instruction set before it made `self`; loads and stores need no
// alignment and stay within the array of the reference.
#[expect(clippy::undocumented_unsafe_blocks, reason = "one reason for all, in the comment above")]
impl Lanes for Avx2 {
    type Floats = Two<__m256>;
    type Ints = Two<__m256i>;
    // Eight sums of a tile, a row's four bytes, ones, weights and products: sixteen registers hold no more.
    const TILE: (usize, usize) = (4, 1);

    fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> Two<__m256> {
        unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))] }
    }
    #[inline(always)]
    fn store(self, floats: Two<__m256>, to: &mut [f32; 16]) {
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), floats[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), floats[1]);
        }
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Two<__m256> {
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    fn add(self, a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn subtract(self, a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn multiply(self, a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn multiply_add(self, a: Two<__m256>, b: Two<__m256>, c: Two<__m256>) -> Two<__m256> {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn divide(self, a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn greater(self, a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn lesser(self, a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        unsafe { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn magnitude(self, a: Two<__m256>) -> Two<__m256> {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            [_mm256_andnot_ps(sign, a[0]), _mm256_andnot_ps(sign, a[1])]
        }
    }
    #[inline(always)]
    fn with_sign(self, magnitude: Two<__m256>, sign: Two<__m256>) -> Two<__m256> {
        unsafe {
            let bit = _mm256_set1_ps(-0.0);
            [
                _mm256_or_ps(magnitude[0], _mm256_and_ps(sign[0], bit)),
                _mm256_or_ps(magnitude[1], _mm256_and_ps(sign[1], bit)),
            ]
        }
    }
    #[inline(always)]
    fn round(self, floats: Two<__m256>) -> Two<__m256i> {
        unsafe { [_mm256_cvtps_epi32(floats[0]), _mm256_cvtps_epi32(floats[1])] }
    }
    #[inline(always)]
    fn to_floats(self, ints: Two<__m256i>) -> Two<__m256> {
        unsafe { [_mm256_cvtepi32_ps(ints[0]), _mm256_cvtepi32_ps(ints[1])] }
    }
    #[inline(always)]
    fn power_of_two(self, ints: Two<__m256i>) -> Two<__m256> {
        unsafe {
            let bias = _mm256_set1_epi32(127);
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(ints[0], bias))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(ints[1], bias))),
            ]
        }
    }
    #[inline(always)]
    fn load_ints(self, from: &[i32; 16]) -> Two<__m256i> {
        unsafe { [_mm256_loadu_si256(from.as_ptr().cast()), _mm256_loadu_si256(from.as_ptr().add(8).cast())] }
    }
    #[inline(always)]
    fn splat_int(self, value: i32) -> Two<__m256i> {
        unsafe { [_mm256_set1_epi32(value); 2] }
    }
    #[inline(always)]
    fn add_ints(self, a: Two<__m256i>, b: Two<__m256i>) -> Two<__m256i> {
        unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    fn store_bytes(self, ints: Two<__m256i>, to: &mut [u8; 16]) {
        unsafe {
            // Packing takes from both registers in turn, half by half; the permutation puts the lanes in order.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(ints[0], ints[1]));
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
        }
    }
    #[inline(always)]
    fn prefetch(self, weights: &[i8; 64]) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(weights.as_ptr()) }
    }
    #[inline(always)]
    fn add_products(self, sums: Two<__m256i>, row: [u8; 4], weights: &[i8; 64]) -> Two<__m256i> {
        unsafe {
            let row = _mm256_set1_epi32(i32::from_le_bytes(row));
            let ones = _mm256_set1_epi16(1);
            let first = _mm256_maddubs_epi16(row, _mm256_loadu_si256(weights.as_ptr().cast()));
            let last = _mm256_maddubs_epi16(row, _mm256_loadu_si256(weights.as_ptr().add(32).cast()));
            [
                _mm256_add_epi32(sums[0], _mm256_madd_epi16(first, ones)),
                _mm256_add_epi32(sums[1], _mm256_madd_epi16(last, ones)),
            ]
        }
    }
}
