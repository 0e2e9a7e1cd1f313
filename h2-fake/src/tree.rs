//! The nodes of the fake Xenstore, as xenstored of Xen 4.17 keeps them
//! (tools/xenstore/xenstored_core.c): who may do what, and how much a guest may have.

use std::collections::BTreeMap;

use h2::DomId;
use serde::{Deserialize, Serialize};

/// `XENSTORE_ABS_PATH_MAX` of xen/include/public/io/xs_wire.h.
const LONGEST: usize = 3072;
/// `XENSTORE_PAYLOAD_MAX` of the same.
const MAX_PAYLOAD: usize = 4096;
/// A guest makes a node only as long as it owns fewer (`quota_nb_entry_per_domain`).
const MOST_NODES: usize = 1000;
/// A guest's node is smaller (`quota_max_entry_size`).
const MAX_NODE: usize = 2048;
/// All that a guest owns is smaller, whoever writes it (`quota_memory_per_domain_hard`).
const MAX_MEMORY: usize = 5 << 19;
/// `struct xs_tdb_record_hdr`, and one of its permissions.
const RECORD: usize = 20;
const ENTRY: usize = 8;

/// Who may do what: domain, read, write.
pub(crate) type Permission = (u16, bool, bool);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) value: Vec<u8>,
    pub(crate) permissions: Vec<Permission>,
}

impl Node {
    fn owner(&self) -> u16 {
        self.permissions.first().map_or(0, |&(domain, ..)| domain)
    }

    /// What it takes of xenstored's memory without the names of its children.
    fn size(&self) -> usize {
        RECORD + ENTRY * self.permissions.len() + self.value.len()
    }

    /// Whether a domain may read, and write (`perm_for_conn`).
    fn rights(&self, domain: DomId) -> (bool, bool) {
        let id = domain.get();
        if domain.is_dom0() || self.owner() == id {
            return (true, true);
        }
        let others = self.permissions.first().copied();
        let own = self.permissions.iter().skip(1).find(|&&(who, ..)| who == id).copied();
        own.or(others).map_or((false, false), |(_, read, write)| (read, write))
    }
}

/// What a domain owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Owned {
    nodes: usize,
    bytes: usize,
}

/// All nodes by their paths. The root is always there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
    owned: BTreeMap<u16, Owned>,
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/')
        .map(|(parent, _)| parent)
        .filter(|parent| !parent.is_empty())
        .unwrap_or("/")
}

impl Tree {
    pub(crate) fn new() -> Self {
        let root = Node { value: Vec::new(), permissions: vec![(0, false, false)] };
        let mut tree = Self { nodes: BTreeMap::new(), owned: BTreeMap::new() };
        tree.account("/", &root, true);
        tree.nodes.insert("/".to_owned(), root);
        tree
    }

    pub(crate) fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.nodes
    }

    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, i32> {
        check(path)?;
        Ok(self.nodes.get(path).map(|node| node.value.clone()))
    }

    /// What a domain reads.
    pub(crate) fn read_as(&self, domain: DomId, path: &str) -> Result<Vec<u8>, i32> {
        check(path)?;
        match self.nodes.get(path) {
            Some(node) if node.rights(domain).0 => Ok(node.value.clone()),
            Some(_) => Err(libc::EACCES),
            None => Err(self.absent(path, |node| node.rights(domain).0)),
        }
    }

    /// A domain that may not look at the nearest parent does not learn what is missing there.
    fn absent(&self, path: &str, may: impl Fn(&Node) -> bool) -> i32 {
        if may(self.nearest(path)) { libc::ENOENT } else { libc::EACCES }
    }

    /// The node, or the parent next to it that is there.
    fn nearest(&self, path: &str) -> &Node {
        let mut at = path;
        loop {
            match self.nodes.get(at) {
                Some(node) => return node,
                None => at = parent(at),
            }
        }
    }

    pub(crate) fn write(&mut self, path: &str, value: &[u8]) -> Result<(), i32> {
        self.write_as(DomId::DOM0, path, value)
    }

    /// A domain sets a node's value.
    pub(crate) fn write_as(&mut self, domain: DomId, path: &str, value: &[u8]) -> Result<(), i32> {
        check(path)?;
        if path.len() + 1 + value.len() > MAX_PAYLOAD {
            return Err(libc::E2BIG);
        }
        let mut node = self.make(domain, path)?;
        let old = node.size();
        value.clone_into(&mut node.value);
        self.fits(domain, &node, old, node.size())?;
        self.change(path, |there| *there = node);
        Ok(())
    }

    /// Whether the node is new.
    pub(crate) fn mkdir(&mut self, path: &str) -> Result<bool, i32> {
        check(path)?;
        let missing = !self.nodes.contains_key(path);
        self.make(DomId::DOM0, path)?;
        Ok(missing)
    }

    /// A node and its missing parents, which take over the nearest parent's permissions. A guest
    /// owns what it makes.
    fn make(&mut self, domain: DomId, path: &str) -> Result<Node, i32> {
        let nearest = self.nearest(path).clone();
        if !nearest.rights(domain).1 {
            return Err(libc::EACCES);
        }
        if self.nodes.contains_key(path) {
            return Ok(nearest);
        }
        let mut permissions = nearest.permissions;
        if let Some((owner, ..)) = permissions.first_mut()
            && !domain.is_dom0()
        {
            *owner = domain.get();
        }
        let node = Node { value: Vec::new(), permissions };
        let mut missing: Vec<String> = Vec::new();
        let mut at = path;
        while !self.nodes.contains_key(at) {
            missing.push(at.to_owned());
            at = parent(at);
        }
        let owns = self.owned.get(&node.owner()).map_or(0, |owned| owned.nodes);
        if !domain.is_dom0() && owns + missing.len() > MOST_NODES {
            return Err(libc::ENOSPC);
        }
        let bytes = missing.iter().map(|path| path.len() + node.size()).sum();
        self.fits(domain, &node, 0, bytes)?;
        for path in missing {
            self.account(&path, &node, true);
            self.nodes.insert(path, node.clone());
        }
        Ok(node)
    }

    /// Whether a node may be so large, and its owner have `more` in the place of `less`.
    fn fits(&self, domain: DomId, node: &Node, less: usize, more: usize) -> Result<(), i32> {
        if !domain.is_dom0() && node.size() >= MAX_NODE {
            return Err(libc::ENOSPC);
        }
        let owner = node.owner();
        let bytes = self.owned.get(&owner).map_or(0, |owned| owned.bytes);
        if owner != 0 && bytes - less + more >= MAX_MEMORY {
            return Err(libc::EIO);
        }
        Ok(())
    }

    /// A domain has as much as it may: its watches and transactions count, too.
    pub(crate) fn hoard(&mut self, domain: DomId) {
        self.owned.entry(domain.get()).or_default().bytes = MAX_MEMORY;
    }

    /// Adds a node to what its owner has, or takes it off.
    fn account(&mut self, path: &str, node: &Node, add: bool) {
        let owned = self.owned.entry(node.owner()).or_default();
        let bytes = node.size() + path.len();
        if add {
            *owned = Owned { nodes: owned.nodes + 1, bytes: owned.bytes + bytes };
        } else {
            *owned = Owned { nodes: owned.nodes - 1, bytes: owned.bytes - bytes };
        }
        if owned.nodes == 0 {
            self.owned.remove(&node.owner());
        }
    }

    /// Changes a node that is there.
    fn change(&mut self, path: &str, change: impl FnOnce(&mut Node)) {
        if let Some(mut node) = self.nodes.remove(path) {
            self.account(path, &node, false);
            change(&mut node);
            self.account(path, &node, true);
            self.nodes.insert(path.to_owned(), node);
        }
    }

    /// Removes a node and all below it; those that went.
    pub(crate) fn remove(&mut self, path: &str) -> Result<Vec<String>, i32> {
        check(path)?;
        if path == "/" {
            return Err(libc::EINVAL);
        }
        let below = format!("{path}/");
        let gone: Vec<String> = self
            .nodes
            .keys()
            .filter(|key| *key == path || key.starts_with(&below))
            .cloned()
            .collect();
        for key in &gone {
            if let Some(node) = self.nodes.remove(key) {
                self.account(key, &node, false);
            }
        }
        Ok(gone)
    }

    pub(crate) fn directory(&self, path: &str) -> Result<Option<Vec<String>>, i32> {
        check(path)?;
        if !self.nodes.contains_key(path) {
            return Ok(None);
        }
        let below = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let children = self.nodes.keys().filter_map(|key| key.strip_prefix(&below));
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
        if !self.nodes.contains_key(path) {
            return Err(libc::ENOENT);
        }
        self.change(path, |node| node.permissions = permissions);
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

    fn guest(number: u16) -> DomId {
        DomId::new(number).unwrap()
    }

    /// A tree with a guest's home, which it may read, and a folder in it that it owns.
    fn with_guest() -> Tree {
        let mut tree = Tree::new();
        tree.mkdir("/local/domain/7").unwrap();
        tree.set_permissions("/local/domain/7", vec![(0, false, false), (7, true, false)]).unwrap();
        tree.write("/local/domain/7/name", b"web").unwrap();
        tree.mkdir("/local/domain/7/data").unwrap();
        tree.set_permissions("/local/domain/7/data", vec![(7, false, false)]).unwrap();
        tree
    }

    #[test]
    fn guests_have_their_rights() {
        let mut tree = with_guest();
        let (own, other) = (guest(7), guest(8));
        let (name, data) = ("/local/domain/7/name", "/local/domain/7/data/x");
        assert_eq!(tree.read_as(own, name).unwrap(), b"web");
        assert_eq!(tree.write_as(own, name, b"other"), Err(libc::EACCES));
        assert_eq!(tree.read_as(other, name), Err(libc::EACCES));
        assert_eq!(tree.read_as(own, "/local/domain/7/none"), Err(libc::ENOENT));
        assert_eq!(tree.read_as(other, "/local/domain/7/none"), Err(libc::EACCES));
        assert_eq!(tree.write_as(own, "/local/domain/7/none", b""), Err(libc::EACCES));
        tree.write_as(own, data, b"1").unwrap();
        assert_eq!(tree.nodes()[data].permissions, [(7, false, false)]);
        assert_eq!(tree.read_as(other, data), Err(libc::EACCES));
    }

    #[test]
    fn a_guest_has_so_many_nodes_and_no_more() {
        let mut tree = with_guest();
        let path = |number: usize| format!("/local/domain/7/data/{number}");
        for number in 1..MOST_NODES {
            tree.write_as(guest(7), &path(number), b"").unwrap();
        }
        let before = tree.clone();
        assert_eq!(tree.write_as(guest(7), &path(0), b""), Err(libc::ENOSPC));
        assert_eq!(tree.write_as(guest(7), &path(1), &[b'x'; MAX_NODE]), Err(libc::ENOSPC));
        assert_eq!(tree, before);
        // What is there can be written, and dom0 may make more.
        tree.write_as(guest(7), &path(1), b"1").unwrap();
        tree.write(&path(0), b"").unwrap();
        tree.remove("/local/domain/7").unwrap();
        assert_eq!(tree.owned.keys().collect::<Vec<_>>(), [&0]);
    }

    #[test]
    fn memory_that_a_guest_owns_is_bounded_whoever_writes() {
        let mut tree = with_guest();
        let path = |number: usize| format!("/local/domain/7/data/{number}");
        let full =
            (0..2000).map(|number| tree.write(&path(number), &[b'x'; 2000])).find_map(Result::err);
        assert_eq!(full, Some(libc::EIO));
        assert_eq!(tree.write("/local/domain/7/name", &[b'x'; 2000]), Ok(()), "dom0 owns it");
        assert_eq!(tree.write("/a", &[b'x'; MAX_PAYLOAD - 3]), Ok(()));
        assert_eq!(tree.write("/a", &[b'x'; MAX_PAYLOAD - 2]), Err(libc::E2BIG));
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
