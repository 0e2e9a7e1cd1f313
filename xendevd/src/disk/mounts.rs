//! What this domain has mounted, from /proc/self/mountinfo (proc(5)).

use std::fs;

use crate::nodes::DeviceNumbers;

/// Where a block device is mounted for writing, if it is.
pub(super) fn mounted_writable(device: DeviceNumbers) -> Option<String> {
    find(&fs::read_to_string("/proc/self/mountinfo").ok()?, device)
}

fn find(table: &str, device: DeviceNumbers) -> Option<String> {
    let numbers = format!("{}:{}", device.major, device.minor);
    table.lines().find_map(|line| {
        let (mount, superblock) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let (at, place) = (fields.next()?, fields.nth(1)?);
        let options = superblock.split(' ').nth(2)?;
        (at == numbers && options.split(',').any(|option| option == "rw")).then(|| place.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writable_mounts_are_found() {
        let table = "36 35 254:16 / /mnt/a rw,noatime shared:1 - ext4 /dev/vdb ro\n\
                     37 35 254:32 / /mnt/b ro,noatime - ext4 /dev/vdc rw,errors=continue\nbroken\n";
        let device = |minor| DeviceNumbers { major: 254, minor };
        assert_eq!(find(table, device(16)), None);
        assert_eq!(find(table, device(32)).as_deref(), Some("/mnt/b"));
        assert_eq!(find(table, device(48)), None);
    }
}
