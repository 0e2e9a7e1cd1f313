//! Which kernel modules a module needs, and in which order they load.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// What `modules.dep` says: each module's file, and the files that it needs.
#[derive(Debug)]
pub(crate) struct Dependencies<'a> {
    by_name: BTreeMap<String, &'a str>,
    needs: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Dependencies<'a> {
    /// Reads the text of a modules.dep.
    pub(crate) fn parse(text: &'a str) -> Self {
        let needs: BTreeMap<_, _> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(file, needed)| (file, needed.split_whitespace().collect()))
            .collect();
        let by_name = needs.keys().map(|file| (name_of(file), *file)).collect();
        Dependencies { by_name, needs }
    }

    /// The files of `wanted` and of all that they need, each after those that it needs itself. A
    /// name that is no module's is an error: what is built into the kernel does not belong in
    /// the list.
    pub(crate) fn load_order(&self, wanted: &[&str]) -> Result<Vec<&'a str>> {
        let mut order = Vec::new();
        for name in wanted {
            let file = self.by_name.get(&name.replace('-', "_"));
            self.visit(
                file.with_context(|| format!("the kernel has no module {name}"))?,
                &mut order,
            );
        }
        Ok(order)
    }

    fn visit(&self, file: &'a str, order: &mut Vec<&'a str>) {
        if order.contains(&file) {
            return;
        }
        // modules.dep has no cycles: the kernel could not load such modules.
        for needed in self.needs.get(file).into_iter().flatten() {
            self.visit(needed, order);
        }
        if !order.contains(&file) {
            order.push(file);
        }
    }
}

/// A module's name from its file: the kernel does not tell - from _.
fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::Dependencies;

    const DEP: &str = "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko\n\
                       kernel/fs/jbd2/jbd2.ko:\nkernel/lib/crc16.ko:\n\
                       kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio-ring.ko\n\
                       kernel/drivers/virtio/virtio-ring.ko: kernel/lib/crc16.ko\n";

    #[test]
    fn needed_modules_come_first_and_once() {
        let dependencies = Dependencies::parse(DEP);
        let order = dependencies.load_order(&["virtio-blk", "ext4"]).unwrap();
        assert_eq!(
            order,
            [
                "kernel/lib/crc16.ko",
                "kernel/drivers/virtio/virtio-ring.ko",
                "kernel/drivers/block/virtio_blk.ko",
                "kernel/fs/jbd2/jbd2.ko",
                "kernel/fs/ext4/ext4.ko",
            ]
        );
    }

    #[test]
    fn an_unknown_module_is_named() {
        assert!(
            Dependencies::parse(DEP).load_order(&["zfs"]).unwrap_err().to_string().contains("zfs")
        );
    }
}
