//! The memory functions that the compiler calls, which no C library provides here. String
//! instructions: nothing that the compiler could turn back into a call of the very function.

use core::arch::asm;

/// C's `memcpy`.
///
/// # Safety
/// As in C: `count` bytes valid at both ends, no overlap.
#[unsafe(no_mangle)]
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
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: the caller's promise; copying upwards never overwrites a byte that is still to be
        // read, as `to` is below `from` or past its end.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the caller passes `count` > 0 valid bytes; downwards, as `to` lies inside `from`'s
    // bytes. The direction flag is clear again at the end.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _,
            inout("rdi") to.wrapping_add(count - 1) => _, inout("rsi") from.wrapping_add(count - 1) => _,
            options(nostack));
    }
    to
}

/// C's `memset`.
///
/// # Safety
/// As in C: `count` writable bytes at `to`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller passes `count` writable bytes; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") value.to_le_bytes()[0],
            options(nostack, preserves_flags));
    }
    to
}

/// C's `memcmp`.
///
/// # Safety
/// As in C: `count` readable bytes at both ends.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: `index` is below `count`, and the caller passes `count` readable bytes.
        let left = unsafe { a.wrapping_add(index).read_volatile() };
        // SAFETY: as above.
        let right = unsafe { b.wrapping_add(index).read_volatile() };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
    }
    0
}

/// C's `bcmp`.
///
/// # Safety
/// As in C: `count` readable bytes at both ends.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { memcmp(a, b, count) }
}
