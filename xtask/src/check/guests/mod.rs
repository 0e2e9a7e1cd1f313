//! What the images of the guests must hold to: the sizes that guests/README.md promises, and stacks
//! that are enough.

mod code;
mod stack;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{LittleEndian, Object, ObjectSection, elf};

use crate::{files, guests};

/// The page in which the sizes are promised.
const README: &str = "guests/README.md";

/// Where an image begins: page 0 is the guard of its stack.
const BEGIN: u64 = 0x1000;
const PAGE: u64 = 4096;

/// Builds the guests, and tells what is wrong with them.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    guests::build(root)?;
    let readme =
        fs::read_to_string(root.join(README)).with_context(|| format!("cannot read {README}"))?;
    let mut wrong = Vec::new();
    for package in guests::PACKAGES {
        let path = files::target()?.join("guest").join(package);
        let file = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let image = Image::read(&file).with_context(|| format!("guest {package}"))?;
        wrong.extend(image.stack_problem(package));
        match Promise::find(&readme, package) {
            Some(promise) => wrong.extend(promise.broken(package, &image)),
            None => wrong.push(format!("{README}: the table of sizes has no line for {package}")),
        }
    }
    Ok(wrong)
}

/// What an image takes, in bytes.
#[derive(Debug)]
struct Image {
    file: u64,
    /// All of its memory, to the end of its last page.
    memory: u64,
    stack: u64,
    need: stack::Need,
}

impl Image {
    fn read(bytes: &[u8]) -> Result<Image> {
        let file = ElfFile64::<LittleEndian>::parse(bytes).context("not an ELF file")?;
        let segments = file.elf_program_headers().iter();
        let end = segments
            .filter(|segment| segment.p_type(LittleEndian) == elf::PT_LOAD)
            .map(|segment| segment.p_paddr(LittleEndian) + segment.p_memsz(LittleEndian))
            .max()
            .context("nothing to load")?;
        let stack = file.section_by_name(".stack").context("no section .stack")?;
        Ok(Image {
            file: bytes.len() as u64,
            memory: end.next_multiple_of(PAGE) - BEGIN,
            stack: stack.address() + stack.size() - BEGIN,
            need: stack::need(bytes)?,
        })
    }

    fn stack_problem(&self, package: &str) -> Option<String> {
        let stack::Need { deepest, path, frame, of } = &self.need;
        (*deepest > self.stack).then(|| {
            let path: Vec<String> =
                path.iter().map(|(name, depth)| format!("    {depth:6} {name}")).collect();
            format!(
                "guest {package}: needs {deepest} bytes of stack and has {}; the largest frame \
                 has {frame}, in {of}; the deepest path:\n{}",
                self.stack,
                path.join("\n")
            )
        })
    }
}

/// A line of the table: at most so much.
#[derive(Debug, PartialEq, Eq)]
struct Promise {
    /// In units of 1000 bytes.
    file: u64,
    /// In units of 1024 bytes.
    memory: u64,
}

impl Promise {
    /// In the line ``| `noop` | 14 KB | 52 KiB |``.
    fn find(readme: &str, package: &str) -> Option<Promise> {
        let cells = readme.lines().find_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, file, memory, ..] = cells[..] else { return None };
            (name == format!("`{package}`") && file.ends_with(" KB")).then_some([file, memory])
        })?;
        let number = |cell: &str, unit| cell.strip_suffix(unit)?.trim().parse().ok();
        Some(Promise { file: number(cells[0], "KB")?, memory: number(cells[1], "KiB")? })
    }

    /// Files may be smaller than promised: paths of the machine that built them are in them.
    fn broken(&self, package: &str, image: &Image) -> Option<String> {
        let (file, memory) = (image.file.div_ceil(1000), image.memory.div_ceil(1024));
        let kept = file <= self.file && self.file <= file + 1 + file / 20 && memory == self.memory;
        (!kept).then(|| {
            format!(
                "{README}: {package} is said to have {} KB and {} KiB of memory, and has {file} \
                 KB and {memory} KiB",
                self.file, self.memory
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(file: u64, memory: u64, deepest: u64) -> Image {
        let need = stack::Need {
            deepest,
            path: vec![("run".to_owned(), 40)],
            frame: 24_000,
            of: "run".to_owned(),
        };
        Image { file, memory, stack: 8192, need }
    }

    #[test]
    fn a_promise_is_kept_or_broken() {
        let readme = "| `noop/` | small |\n| | file | memory |\n| `noop` | 14 KB | 52 KiB |\n";
        let promise = Promise::find(readme, "noop").unwrap();
        assert_eq!(promise, Promise { file: 14, memory: 52 });
        assert_eq!(Promise::find(readme, "hello"), None);
        assert_eq!(promise.broken("noop", &image(14_000, 52 << 10, 0)), None);
        assert_eq!(promise.broken("noop", &image(13_500, 52 << 10, 0)), None);
        assert!(promise.broken("noop", &image(14_001, 52 << 10, 0)).is_some());
        assert!(promise.broken("noop", &image(9_000, 52 << 10, 0)).is_some());
        let message = promise.broken("noop", &image(14_000, 56 << 10, 0)).unwrap();
        assert!(message.contains("has 14 KB and 56 KiB"), "{message}");
    }

    #[test]
    fn a_stack_that_is_too_small_is_told_with_its_path() {
        assert_eq!(image(0, 0, 8192).stack_problem("noop"), None);
        let message = image(0, 0, 8193).stack_problem("noop").unwrap();
        assert!(message.contains("needs 8193") && message.contains("    40 run"), "{message}");
    }
}
