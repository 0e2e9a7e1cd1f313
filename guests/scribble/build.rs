//! Links the guest.

#[path = "../runtime/link.rs"]
mod link;

fn main() {
    link::link(16 * 1024, true);
}
