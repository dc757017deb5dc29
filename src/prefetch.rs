//! Memory that was written long ago, or by another thread, is asked for before it is needed.

/// Asks for `values`, which are read soon. Changes nothing but time; where there is no such hint, not even that.
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of_val(values)).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint that reads nothing, and every processor of this kind has it.
        #[expect(unsafe_code, reason = "there is no safe way to ask for a cache line")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().cast::<i8>().wrapping_add(line));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}
