//! What a PVH guest does with the CPU itself: find Xen by CPUID and have it fill the hypercall
//! page.

use core::arch::asm;
use core::arch::x86_64::__cpuid;

use crate::Error;

/// Fills the hypercall page: CPUID finds Xen's leaves, the third of them names a register to write
/// the page's address to.
pub(crate) fn fill_hypercall_page() -> Result<(), Error> {
    unsafe extern "C" {
        static hypercall_page: [u8; 4096];
    }
    // "XenVMMXenVMM" in EBX, ECX, EDX.
    const SIGNATURE: [u32; 3] = [0x566e_6558, 0x6558_4d4d, 0x4d4d_566e];
    let base = (0x4000_0000..0x4001_0000).step_by(0x100).find(|&leaf| {
        let answer = __cpuid(leaf);
        [answer.ebx, answer.ecx, answer.edx] == SIGNATURE && answer.eax >= leaf + 2
    });
    let register = __cpuid(base.ok_or(Error::NoXen)? + 2).ebx;
    let page = (&raw const hypercall_page).expose_provenance() as u64;
    // SAFETY: the register that Xen named takes the physical address of a page, which is the page's
    // address here, and Xen fills it with code. Nothing else uses that page before.
    unsafe {
        asm!(
            "wrmsr",
            in("ecx") register, in("eax") low(page), in("edx") low(page >> 32),
            options(nostack, preserves_flags)
        );
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn low(value: u64) -> u32 {
    value as u32
}
