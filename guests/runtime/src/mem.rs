//! The memory functions that the compiler calls, which no C library provides here. String
//! instructions to copy and fill, which CPUs do by the line, and nothing that the compiler could
//! turn back into a call of the very function.
//!
//! The unit tests call them by their Rust names; the host's own stay what the compiler calls there.

use core::arch::asm;

const WORD: usize = size_of::<u64>();

/// C's `memcpy`.
///
/// # Safety
/// As in C: `count` bytes valid at both ends, no overlap.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller passes `count` readable and writable bytes; the direction flag is clear by
    // the ABI.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

/// C's `memmove`.
///
/// # Safety
/// As in C: `count` bytes valid at both ends; they may overlap.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: the caller's promise; copying upwards never overwrites a byte that is still to be
        // read, as `to` is below `from` or past its end.
        return unsafe { memcpy(to, from, count) };
    }
    // Downwards CPUs take a step for each unit: so words, and before them the bytes that are left.
    // SAFETY: the caller passes `count` > 0 valid bytes; downwards, as `to` lies inside `from`'s
    // bytes. The pointers are at the last byte, then at the last word of what is left: seven before
    // its last byte. The direction flag is clear again at the end.
    unsafe {
        asm!(
            "std", "rep movsb",
            "sub ${seven}, %rdi", "sub ${seven}, %rsi", "mov {words}, %rcx", "rep movsq", "cld",
            seven = const WORD - 1, words = in(reg) count / WORD,
            inout("rcx") count % WORD => _,
            inout("rdi") to.wrapping_add(count - 1) => _,
            inout("rsi") from.wrapping_add(count - 1) => _,
            options(att_syntax, nostack));
    }
    to
}

/// C's `memset`.
///
/// # Safety
/// As in C: `count` writable bytes at `to`.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller passes `count` writable bytes; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _,
            in("al") value.to_le_bytes()[0], options(nostack, preserves_flags));
    }
    to
}

/// C's `memcmp`.
///
/// # Safety
/// As in C: `count` readable bytes at both ends.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    let mut done = 0;
    while count - done >= WORD {
        // SAFETY: eight bytes from `done` on are among the `count` readable ones.
        let left = unsafe { a.wrapping_add(done).cast::<u64>().read_unaligned() };
        // SAFETY: as above.
        let right = unsafe { b.wrapping_add(done).cast::<u64>().read_unaligned() };
        if left != right {
            break;
        }
        done += WORD;
    }
    // What is left, or the word with the difference.
    while done < count {
        // SAFETY: `done` is below `count`, and the caller passes `count` readable bytes. Volatile,
        // or the compiler might take this loop for a `memcmp`.
        let left = unsafe { a.wrapping_add(done).read_volatile() };
        // SAFETY: as above.
        let right = unsafe { b.wrapping_add(done).read_volatile() };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
        done += 1;
    }
    0
}

/// C's `bcmp`.
///
/// # Safety
/// As in C: `count` readable bytes at both ends.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { memcmp(a, b, count) }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn compares_as_slices_do(
            a in proptest::collection::vec(0u8..3, 0..40),
            b in proptest::collection::vec(0u8..3, 0..40),
            same in 0usize..40,
        ) {
            let mut b = b;
            let same = same.min(a.len()).min(b.len());
            b[..same].copy_from_slice(&a[..same]);
            let count = a.len().min(b.len());
            // SAFETY: both have `count` bytes.
            let found = unsafe { memcmp(a.as_ptr(), b.as_ptr(), count) };
            prop_assert_eq!(found.cmp(&0), a[..count].cmp(&b[..count]));
            // SAFETY: as above.
            let equal = unsafe { bcmp(a.as_ptr(), b.as_ptr(), count) } == 0;
            prop_assert_eq!(equal, a[..count].cmp(&b[..count]) == Ordering::Equal);
        }

        #[test]
        fn moves_as_slices_do(
            bytes in proptest::collection::vec(any::<u8>(), 64..200),
            from in 0usize..64,
            to in 0usize..64,
            count in 0usize..200,
        ) {
            let count = count.min(bytes.len() - from.max(to));
            let (mut expected, mut found) = (bytes.clone(), bytes);
            expected.copy_within(from..from + count, to);
            let base = found.as_mut_ptr();
            // SAFETY: both ends are inside of `found`.
            unsafe { memmove(base.wrapping_add(to), base.wrapping_add(from), count) };
            prop_assert_eq!(&expected, &found);
            let end = to + count;
            expected[to..end].fill(7);
            // SAFETY: inside of `found`; what is beyond the low byte of the value does not count.
            unsafe { memset(found.as_mut_ptr().wrapping_add(to), 0x107, count) };
            prop_assert_eq!(expected, found);
        }
    }
}
