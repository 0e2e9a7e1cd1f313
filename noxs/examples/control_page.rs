//! Writes a network interface's control page as its backend and its guest would, reads it back and
//! prints it. Needs no Xen host: `cargo run -p noxs --example control_page`.

use std::error::Error;

use noxs::control_page::{ControlPage, End};
use noxs::keys::Keys;
use noxs::page::PageBuffer;
use noxs::state::{Side, State};

fn main() -> Result<(), Box<dyn Error>> {
    let page = PageBuffer::new();

    let mut backend = End::create(page.shared());
    let mut keys = Keys::for_side(Side::Backend);
    for (key, value) in
        [("mac", "00:16:3e:00:00:01"), ("feature-sg", "1"), ("multi-queue-max-queues", "4")]
    {
        keys.set(key.as_bytes(), value.as_bytes())?;
    }
    backend.publish(&keys)?;
    backend.set_state(State::InitWait)?;

    let mut frontend = End::join(page.shared())?;
    frontend.set_state(State::Initialising)?;
    let mut keys = Keys::for_side(Side::Frontend);
    for queue in 0..4 {
        for (key, value) in [("tx-ring-ref", 8), ("rx-ring-ref", 9), ("event-channel", 5)] {
            keys.set(
                format!("queue-{queue}/{key}").as_bytes(),
                (value + 2 * queue).to_string().as_bytes(),
            )?;
        }
    }
    keys.set(b"multi-queue-num-queues", b"4")?;
    frontend.publish(&keys)?;
    frontend.set_state(State::Connected)?;

    let page = ControlPage::open(page.shared())?;
    for side in [Side::Backend, Side::Frontend] {
        let keys = page.snapshot(side)?;
        println!(
            "{side:?}: {}, {} of {} bytes",
            page.state(side)?,
            keys.as_bytes().len(),
            side.capacity()
        );
        for (key, value) in keys.iter() {
            println!("  {} = \"{}\"", key.escape_ascii(), value.escape_ascii());
        }
    }
    Ok(())
}
