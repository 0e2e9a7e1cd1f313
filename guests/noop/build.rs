//! Links the guest.

#[path = "../runtime/link.rs"]
mod link;

fn main() {
    link::link(4096, false);
}
