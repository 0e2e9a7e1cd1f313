//! What names a device and reaches its control page: ids as types of their own, and the device's
//! class.

use core::fmt;

use crate::error::ClassError;

/// Bytes of a class in the pages.
pub const CLASS_SIZE: usize = 8;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// The number of a domain.
    DomId(u16)
}
id! {
    /// A device's number among those of its class in its guest, as in Xenstore's `device/vif/0`.
    DeviceId(u32)
}
id! {
    /// A grant reference in the table of the domain that granted.
    GrantRef(u32)
}
id! {
    /// The number of an event channel in the domain that opened it.
    Port(u32)
}

/// A device's class: one to eight of `a-z`, `0-9`, `-` and `_`, as in Xenstore's `device/vif`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class([u8; CLASS_SIZE]);

impl Class {
    /// The pseudo-device of shutdown requests and the memory target.
    pub const SYSCTL: Class = Class(*b"sysctl\0\0");
    /// A network interface.
    pub const VIF: Class = Class(*b"vif\0\0\0\0\0");
    /// A disk.
    pub const VBD: Class = Class(*b"vbd\0\0\0\0\0");
    /// A further console. A guest's first console is not a device of the device page.
    pub const CONSOLE: Class = Class(*b"console\0");

    /// The class of that name.
    ///
    /// # Errors
    /// The name is empty, longer than eight bytes, or has another byte than those allowed.
    pub fn new(name: &str) -> Result<Self, ClassError> {
        let mut bytes = [0; CLASS_SIZE];
        let room = bytes.get_mut(..name.len()).ok_or(ClassError::Length)?;
        room.copy_from_slice(name.as_bytes());
        if name.contains('\0') {
            return Err(ClassError::Byte(0));
        }
        Self::from_bytes(bytes)
    }

    /// The class of eight bytes of a page: a name, then zeros.
    ///
    /// # Errors
    /// The name is empty, or a byte is none of those allowed.
    pub fn from_bytes(bytes: [u8; CLASS_SIZE]) -> Result<Self, ClassError> {
        let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(CLASS_SIZE);
        if length == 0 {
            return Err(ClassError::Length);
        }
        let (name, rest) = bytes.split_at(length);
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        match name.iter().find(|&&byte| !allowed(byte)).or(rest.iter().find(|&&byte| byte != 0)) {
            Some(&byte) => Err(ClassError::Byte(byte)),
            None => Ok(Class(bytes)),
        }
    }

    /// The name, padded with zeros.
    pub const fn to_bytes(self) -> [u8; CLASS_SIZE] {
        self.0
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(CLASS_SIZE);
        // Only ASCII gets into a class, so there is always a text.
        core::str::from_utf8(&self.0[..length]).unwrap_or_default()
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Class({:?})", self.as_str())
    }
}

/// One device of a guest, as its device page tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Device {
    /// What it is.
    pub class: Class,
    /// Which of its class.
    pub id: DeviceId,
    /// The domain at its other end.
    pub backend: DomId,
    /// The control page, granted by the backend.
    pub grant: GrantRef,
    /// The backend's port, unbound, for this guest to bind to.
    pub port: Port,
}

impl Device {
    /// Whether both are the same device to the guest: a class has each id once, whoever serves it.
    pub fn same_name(&self, class: Class, id: DeviceId) -> bool {
        self.class == class && self.id == id
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn classes_are_short_names() {
        assert_eq!(Class::new("vif"), Ok(Class::VIF));
        assert_eq!(Class::new("9pfs").map(|class| class.to_string()), Ok("9pfs".to_string()));
        assert_eq!(Class::new("eight-ok").map(|class| class.as_str().len()), Ok(8));
        assert_eq!(Class::new(""), Err(ClassError::Length));
        assert_eq!(Class::new("nine-long"), Err(ClassError::Length));
        assert_eq!(Class::new("Vif"), Err(ClassError::Byte(b'V')));
        assert_eq!(Class::new("vif\0"), Err(ClassError::Byte(0)));
        assert_eq!(Class::from_bytes(*b"vif\0x\0\0\0"), Err(ClassError::Byte(b'x')));
        assert_eq!(Class::from_bytes([0; 8]), Err(ClassError::Length));
    }
}
