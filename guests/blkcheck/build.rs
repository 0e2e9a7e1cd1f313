//! Links the guest.

#[path = "../runtime/link.rs"]
mod link;

fn main() {
    link::link(24 * 1024, true);
}
