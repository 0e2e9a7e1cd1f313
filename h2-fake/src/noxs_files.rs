//! The open files of the fake kernel's NoXS node: what each watches, and what it has not read yet.
//! They end with the process, unlike the devices.
//!
//! As drivers/xen/noxs/backend_dev.c of the Linux series has it: a watch does not fire by itself,
//! changes of one device are one event with the newest states, and an event stays until it is read.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use h2::noxs_backend::{Change, Name, News};
use h2::seam::NoxsWatch;

/// An open file.
pub(crate) type Id = u64;

/// When changes are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoxsEvents {
    /// At once.
    #[default]
    Prompt,
    /// Somewhat later, to whoever waits then.
    Late,
    /// Never, as if the kernel had a bug.
    Lost,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// A device has changed, or is gone.
    Device(Change),
    /// A domain has ended, or is gone.
    End,
}

#[derive(Debug)]
struct File {
    watches: Vec<NoxsWatch>,
    news: News,
    /// Has a byte in it while there is news.
    signal: UnixStream,
}

impl File {
    fn has_news(&self) -> bool {
        self.news.domain_ended || !self.news.devices.is_empty()
    }

    fn watches(&self, told: &Told) -> bool {
        self.watches.iter().any(|watch| match (watch, told) {
            (NoxsWatch::Ends, told) => *told == Told::End,
            (NoxsWatch::All, Told::Device(_)) => true,
            (NoxsWatch::Domain(domain), Told::Device(change)) => change.name.domain == *domain,
            (NoxsWatch::Device(name), Told::Device(change)) => change.name == *name,
            (_, Told::End) => false,
        })
    }

    fn tell(&mut self, told: &Told) {
        if !self.watches(told) {
            return;
        }
        let quiet = !self.has_news();
        match told {
            Told::End => self.news.domain_ended = true,
            Told::Device(change) => {
                let same = |known: &&mut Change| known.name == change.name;
                match self.news.devices.iter_mut().find(same) {
                    Some(known) => {
                        let (gone, frontend, backend) = (known.gone, known.frontend, known.backend);
                        *known = *change;
                        known.gone |= gone;
                        known.frontend |= frontend;
                        known.backend |= backend;
                    }
                    None => self.news.devices.push(*change),
                }
            }
        }
        if quiet {
            let _ = self.signal.write_all(&[0]);
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Files {
    next: Id,
    open: BTreeMap<Id, File>,
    late: Vec<Told>,
    pub(crate) events: NoxsEvents,
    /// Waits of some length that nothing has ended but their time.
    pub(crate) timeouts: u64,
}

impl Files {
    pub(crate) fn open(&mut self, signal: UnixStream) -> Id {
        self.next += 1;
        self.open.insert(self.next, File { watches: Vec::new(), news: News::default(), signal });
        self.next
    }

    pub(crate) fn close(&mut self, id: Id) {
        self.open.remove(&id);
    }

    pub(crate) fn watch(&mut self, id: Id, watch: NoxsWatch) {
        if let Some(file) = self.open.get_mut(&id) {
            file.watches.push(watch);
        }
    }

    /// Something has happened.
    pub(crate) fn tell(&mut self, told: impl IntoIterator<Item = Told>) {
        match self.events {
            NoxsEvents::Prompt => self.tell_now(told.into_iter().collect()),
            NoxsEvents::Late => self.late.extend(told),
            NoxsEvents::Lost => {}
        }
    }

    /// Tells what is late; whether anything was.
    pub(crate) fn tell_late(&mut self) -> bool {
        let late = std::mem::take(&mut self.late);
        let any = !late.is_empty();
        self.tell_now(late);
        any
    }

    fn tell_now(&mut self, told: Vec<Told>) {
        for told in told {
            self.open.values_mut().for_each(|file| file.tell(&told));
        }
    }

    pub(crate) fn has_news(&self, id: Id) -> bool {
        self.open.get(&id).is_some_and(File::has_news)
    }

    /// What a file has not read yet. `descriptor` is the other end of its signal.
    pub(crate) fn read(&mut self, id: Id, mut descriptor: &UnixStream) -> News {
        let Some(file) = self.open.get_mut(&id).filter(|file| file.has_news()) else {
            return News::default();
        };
        let _ = descriptor.read_exact(&mut [0]);
        std::mem::take(&mut file.news)
    }
}

/// A change of a device.
pub(crate) fn change(name: Name, backend: u32, frontend: u32) -> Change {
    Change {
        name,
        backend_state: backend.into(),
        frontend_state: frontend.into(),
        gone: false,
        frontend: false,
        backend: false,
    }
}
