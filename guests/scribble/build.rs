//! Links the guest.

#[path = "../runtime/link.rs"]
mod link;

fn main() {
    link::link(32 * 1024, true);
}
