//! The nodes of the fake Xenstore, as xenstored of Xen 4.17 keeps them
//! (tools/xenstore/xenstored_core.c).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `XENSTORE_ABS_PATH_MAX` of xen/include/public/io/xs_wire.h.
const LONGEST: usize = 3072;

/// Who may do what: domain, read, write.
pub(crate) type Permission = (u16, bool, bool);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) value: Vec<u8>,
    pub(crate) permissions: Vec<Permission>,
}

/// All nodes by their paths. The root is always there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tree(BTreeMap<String, Node>);

impl Tree {
    pub(crate) fn new() -> Self {
        let root = Node { value: Vec::new(), permissions: vec![(0, false, false)] };
        Self(BTreeMap::from([("/".to_owned(), root)]))
    }

    pub(crate) fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.0
    }

    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, i32> {
        check(path)?;
        Ok(self.0.get(path).map(|node| node.value.clone()))
    }

    pub(crate) fn write(&mut self, path: &str, value: &[u8]) -> Result<(), i32> {
        check(path)?;
        self.make(path).value = value.to_vec();
        Ok(())
    }

    /// Whether the node is new.
    pub(crate) fn mkdir(&mut self, path: &str) -> Result<bool, i32> {
        check(path)?;
        let missing = !self.0.contains_key(path);
        self.make(path);
        Ok(missing)
    }

    /// A node and its missing parents; each takes over its parent's permissions.
    fn make(&mut self, path: &str) -> &mut Node {
        if !self.0.contains_key(path) {
            let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
            let permissions =
                self.make(if parent.is_empty() { "/" } else { parent }).permissions.clone();
            self.0.insert(path.to_owned(), Node { value: Vec::new(), permissions });
        }
        self.0
            .entry(path.to_owned())
            .or_insert_with(|| Node { value: Vec::new(), permissions: Vec::new() })
    }

    /// Removes a node and all below it; those that went.
    pub(crate) fn remove(&mut self, path: &str) -> Result<Vec<String>, i32> {
        check(path)?;
        if path == "/" {
            return Err(libc::EINVAL);
        }
        let below = format!("{path}/");
        let gone: Vec<String> =
            self.0.keys().filter(|key| *key == path || key.starts_with(&below)).cloned().collect();
        for key in &gone {
            self.0.remove(key);
        }
        Ok(gone)
    }

    pub(crate) fn directory(&self, path: &str) -> Result<Option<Vec<String>>, i32> {
        check(path)?;
        if !self.0.contains_key(path) {
            return Ok(None);
        }
        let below = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let children = self.0.keys().filter_map(|key| key.strip_prefix(&below));
        Ok(Some(
            children
                .filter(|rest| !rest.is_empty() && !rest.contains('/'))
                .map(str::to_owned)
                .collect(),
        ))
    }

    pub(crate) fn set_permissions(
        &mut self,
        path: &str,
        permissions: Vec<Permission>,
    ) -> Result<(), i32> {
        check(path)?;
        if permissions.is_empty() {
            return Err(libc::EINVAL);
        }
        self.0.get_mut(path).ok_or(libc::ENOENT)?.permissions = permissions;
        Ok(())
    }
}

/// Refuses what xenstored's `is_valid_nodename` refuses.
pub(crate) fn check(path: &str) -> Result<(), i32> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
    let whole =
        path.starts_with('/') && (path == "/" || !path.ends_with('/')) && !path.contains("//");
    if whole && path.len() <= LONGEST && path.bytes().all(known) {
        Ok(())
    } else {
        Err(libc::EINVAL)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn children_inherit() {
        let mut tree = Tree::new();
        tree.mkdir("/a").unwrap();
        tree.set_permissions("/a", vec![(0, false, false), (7, true, false)]).unwrap();
        tree.write("/a/b/c", b"x").unwrap();
        assert_eq!(tree.nodes()["/a/b"].permissions, [(0, false, false), (7, true, false)]);
        assert_eq!(tree.nodes()["/a/b/c"].permissions, tree.nodes()["/a"].permissions);
        // What exists keeps its own.
        tree.set_permissions("/a", vec![(0, false, false)]).unwrap();
        assert_eq!(tree.nodes()["/a/b"].permissions.len(), 2);
    }

    #[test]
    fn removing_takes_the_subtree_and_no_namesake() {
        let mut tree = Tree::new();
        for path in ["/a/1/x", "/a/10", "/a/1"] {
            tree.write(path, b"").unwrap();
        }
        assert_eq!(tree.remove("/a/1").unwrap(), ["/a/1", "/a/1/x"]);
        assert_eq!(tree.directory("/a").unwrap().unwrap(), ["10"]);
        assert_eq!(tree.remove("/a/1").unwrap(), Vec::<String>::new());
        assert_eq!(tree.directory("/b").unwrap(), None);
    }

    #[test]
    fn malformed_paths() {
        for path in
            ["", "a", "/a/", "//a", "/a b", "/a\u{e9}", &format!("/{}", "a".repeat(LONGEST))]
        {
            assert_eq!(check(path), Err(libc::EINVAL), "{path}");
        }
    }
}
