//! Links the guest.

#[path = "../runtime/link.rs"]
mod link;

fn main() {
    link::link(4 * 1024, true);
}
