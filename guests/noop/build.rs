//! Links the guest.

#[path = "../runtime/link.rs"]
mod link;

fn main() {
    link::link(12 * 1024, false);
}
