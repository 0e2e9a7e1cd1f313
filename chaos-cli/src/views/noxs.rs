//! What `chaos noxs dump` shows of a guest's device page and control pages. The JSON form is the
//! library's own.

use h2::noxs_backend::Keys;
use h2::{NoxsDump, NoxsDumpDevice, NoxsDumpEnd};

use super::guest::printable;
use crate::table::{Align, layout};

/// The device page as a table, and below it the keys of each device.
pub(crate) fn noxs_text(dump: &NoxsDump) -> String {
    let columns = [
        ("Slot", Align::Right),
        ("Class", Align::Left),
        ("ID", Align::Right),
        ("Backend", Align::Right),
        ("Grant", Align::Right),
        ("Port", Align::Right),
        ("Seq", Align::Right),
        ("Host", Align::Left),
        ("Guest", Align::Left),
    ];
    let rows: Vec<Vec<String>> = dump.devices.iter().map(row).collect();
    let mut text = format!(
        "domain {}, generation {}\n{}",
        dump.domain,
        dump.generation,
        layout(&columns, &rows)
    );
    for device in &dump.devices {
        text.push_str(&format!("\n{} {}\n", device.class, device.id));
        for (whose, keys) in [
            ("host", device.backend.as_ref().map(|end| &end.keys)),
            ("guest", device.frontend.as_ref().map(|end| &end.keys)),
            ("private", device.private.as_ref()),
        ] {
            text.push_str(&lines(whose, keys));
        }
    }
    text
}

fn row(device: &NoxsDumpDevice) -> Vec<String> {
    let number =
        |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let end = |end: Option<&NoxsDumpEnd>| {
        end.map_or_else(|| "-".to_owned(), |end| format!("{} ({})", end.state, end.generation))
    };
    vec![
        number(device.slot),
        device.class.clone(),
        device.id.to_string(),
        device.backend_domain.to_string(),
        device.grant.to_string(),
        device.port.to_string(),
        number(device.sequence),
        end(device.backend.as_ref()),
        end(device.frontend.as_ref()),
    ]
}

/// The keys of one end, which a guest may have written.
fn lines(whose: &str, keys: Option<&Keys>) -> String {
    let keys = keys.into_iter().flat_map(Keys::iter);
    keys.map(|(key, value)| format!("  {whose:<7}  {} = {}\n", printable(key), printable(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_guests_write_does_no_harm() {
        let keys: Keys = [("feature-poweroff", "1"), ("x", "\x1b[2J")].into_iter().collect();
        assert_eq!(
            lines("guest", Some(&keys)),
            "  guest    feature-poweroff = 1\n  guest    x = ?[2J\n"
        );
        assert_eq!(lines("guest", None), "");
    }
}
