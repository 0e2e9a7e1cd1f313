//! The closed sets of words in a guest configuration.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::error::ValueError;

macro_rules! choice {
    (
        $(#[$doc:meta])* $name:ident, $noun:literal {
            $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            pub(super) const NOUN: &'static str = $noun;

            /// The word that stands for it in a configuration.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }

            pub(super) fn right() -> String {
                let quoted = |choice: &Self| format!("\"{choice}\"");
                let words: Vec<String> = Self::ALL.iter().map(quoted).collect();
                words.join(" or ")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(word: &str) -> Result<Self, ValueError> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|choice| choice.as_str() == word)
                    .ok_or_else(|| {
                        ValueError::not(format_args!("{word:?}"), Self::NOUN, Self::right())
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

choice! {
    /// How a guest is virtualised.
    GuestType, "a guest type" {
        /// Paravirtual: the guest's kernel manages its page tables through hypercalls.
        Pv = "pv",
        /// PVH: hardware virtualisation without an emulated machine, started at the kernel's PVH
        /// entry point.
        Pvh = "pvh",
    }
}

choice! {
    /// What becomes of a guest that has stopped.
    StopAction, "what to do with a stopped guest" {
        /// The domain and its devices are removed.
        Destroy = "destroy",
        /// It is removed and made anew from its configuration.
        Restart = "restart",
        /// The domain stays, dead, for inspection.
        Preserve = "preserve",
    }
}

choice! {
    /// How a guest sees the time stamp counter: `tsc_mode` of xl.
    TscMode, "a TSC mode" {
        /// Native where the host's counter is reliable, emulated otherwise (mode 0 of
        /// `XEN_DOMCTL_settscinfo`).
        Default = "default",
        /// Reads of the counter always trap into Xen (mode 1).
        AlwaysEmulate = "always_emulate",
        /// Reads of the counter never trap (mode 2).
        Native = "native",
    }
}

choice! {
    /// The control plane that connects a guest to its devices. A guest has exactly one.
    Plane, "a control plane" {
        /// Xenstore, as on every Xen host.
        Xenstore = "xenstore",
        /// NoXS: a device page and a control page per device.
        Noxs = "noxs",
    }
}

choice! {
    /// What kind of thing a disk's target is.
    DiskType, "a disk type" {
        /// A block device of the backend domain.
        Phy = "phy",
        /// A file, which the backend domain puts on a loop device.
        File = "file",
    }
}

choice! {
    /// What a guest may do to a disk.
    Access, "a kind of access" {
        /// Read only.
        Read = "r",
        /// Read and write.
        Write = "w",
    }
}

choice! {
    /// How a disk's content is laid out in its target.
    DiskFormat, "a disk format" {
        /// Block for block, without a header.
        Raw = "raw",
    }
}

impl TscMode {
    /// The number of the mode in `XEN_DOMCTL_settscinfo` (xen/include/public/domctl.h).
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            TscMode::Default => 0,
            TscMode::AlwaysEmulate => 1,
            TscMode::Native => 2,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for action in StopAction::ALL {
            assert_eq!(action.as_str().parse::<StopAction>().unwrap(), *action);
        }
        assert_eq!(
            "PV".parse::<GuestType>().unwrap_err().to_string(),
            "\"PV\" is not a guest type; give \"pv\" or \"pvh\""
        );
    }
}
