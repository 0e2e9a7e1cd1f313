//! What the daemon and its clients say to each other; docs/xendevd-protocol.md is its
//! specification.
//!
//! A frame is a length (four bytes, big-endian) and so many bytes of JSON. A client sends a
//! [`Request`] and reads a [`Response`], as often as it likes.

use h2::DomId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::device::{Class, DeviceId};
use crate::hotplug::Counters;
use crate::nodes::shown;

/// The version of this protocol.
pub const VERSION: u32 = 1;

/// Where the daemon listens.
pub const SOCKET: &str = "/run/lightvm/xendevd.sock";

/// The longest request, in bytes.
pub const MAX_REQUEST: usize = 16 << 10;

/// The longest response, in bytes.
pub const MAX_RESPONSE: usize = 16 << 20;

/// The bytes of a frame's length.
const LENGTH: usize = 4;

/// What the daemon can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// What it is at.
    Status,
    /// To read its configuration again and to look at everything anew.
    Reload,
    /// To answer when all that has happened so far is dealt with.
    Settle,
    /// To answer when a device is served, or has failed.
    Wait(DeviceId),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The version of the protocol: 1.
    pub version: u32,
    /// What is wanted.
    pub request: String,
    /// Of which device, as in vbd-5-51712.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The version of the protocol: 1.
    pub version: u32,
    /// What there is to say.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What there is to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It is done.
    Done,
    /// It was not done.
    Error {
        /// Why.
        message: String,
    },
    /// What the daemon is at.
    Status(Box<Status>),
}

/// What the daemon is at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's own version.
    pub daemon: String,
    /// Its process.
    pub pid: u32,
    /// For how many seconds it has run.
    pub uptime_s: u64,
    /// Whether it has a connection to xenstored.
    pub xenstore: bool,
    /// Whether the kernel has NoXS devices.
    #[serde(default)]
    pub noxs: bool,
    /// Whether all that has happened so far is dealt with.
    pub settled: bool,
    /// What it has done.
    pub counters: Counters,
    /// Jobs that wait for disks.
    pub jobs_running: usize,
    /// Jobs that wait for their guest's others.
    pub jobs_queued: usize,
    /// The devices that it serves, and those that have failed.
    pub devices: Vec<DeviceStatus>,
    /// Guests that have ended and wait for being started again, or could not be.
    pub restarts: Vec<RestartStatus>,
    /// The consoles that it serves.
    #[serde(default)]
    pub consoles: Vec<ConsoleStatus>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// The kernel's name for it, as in vbd-5-51712.
    pub device: String,
    /// Its class.
    pub class: Class,
    /// The guest's domain.
    pub domain: DomId,
    /// Its number in the guest.
    pub number: u32,
    /// The guest's name.
    pub guest: Option<String>,
    /// connected, error, or on the way.
    pub state: String,
    /// Why it does not work.
    pub error: Option<String>,
    /// A disk's file or block device.
    pub target: Option<String>,
    /// What the guest may do with a disk.
    pub mode: Option<String>,
    /// The loop device of a disk.
    pub loop_device: Option<String>,
    /// The name of an interface in this domain.
    pub interface: Option<String>,
    /// Its bridge.
    pub bridge: Option<String>,
}

/// A console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleStatus {
    /// The guest's domain.
    pub domain: DomId,
    /// Its name.
    pub guest: String,
    /// Programs that are attached.
    pub attached: usize,
    /// Bytes that it has printed since the daemon has served it.
    pub printed: u64,
    /// How often it had to wait since it prints too much.
    pub throttled: u64,
}

/// A guest that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartStatus {
    /// Its name.
    pub guest: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// How it ended.
    pub reason: String,
    /// Quick ends in a row.
    pub in_a_row: u32,
    /// In how many milliseconds it is started, if it still is to be.
    pub in_ms: Option<u64>,
    /// What went wrong the last time.
    pub error: Option<String>,
}

impl Request {
    /// A request for this.
    #[must_use]
    pub fn new(command: Command) -> Self {
        let (word, device) = match command {
            Command::Status => ("status", None),
            Command::Reload => ("reload", None),
            Command::Settle => ("settle", None),
            Command::Wait(device) => ("wait", Some(device.sysname())),
        };
        Self { version: VERSION, request: word.to_owned(), device }
    }

    /// Reads a frame's bytes as the command that they ask for.
    ///
    /// # Errors
    /// What is wrong, as the client is to read it.
    pub fn parse(bytes: &[u8]) -> Result<Command, String> {
        let request: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("not a request: {error}"))?;
        if request.version != VERSION {
            return Err(format!(
                "version {} is not spoken here; give version {VERSION}",
                request.version
            ));
        }
        let device = || {
            let name =
                request.device.as_deref().ok_or("which device? give one, as in vbd-5-51712")?;
            DeviceId::from_sysname(name)
                .ok_or_else(|| format!("{} is no device; give one, as in vbd-5-51712", shown(name)))
        };
        match request.request.as_str() {
            "status" => Ok(Command::Status),
            "reload" => Ok(Command::Reload),
            "settle" => Ok(Command::Settle),
            "wait" => device().map(Command::Wait),
            other => Err(format!(
                "unknown request {}; give status, reload, settle or wait",
                shown(other)
            )),
        }
    }
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        Self { version: VERSION, answer }
    }
}

/// A frame that is longer than its kind may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes, more than {most}")]
pub struct FrameError {
    length: usize,
    most: usize,
}

/// A frame with these bytes.
///
/// # Errors
/// [`FrameError`] if they are more than `most`.
pub fn frame(bytes: &[u8], most: usize) -> Result<Vec<u8>, FrameError> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= most);
    let length = length.ok_or(FrameError { length: bytes.len(), most })?;
    Ok([&length.to_be_bytes(), bytes].concat())
}

/// Bytes that come in pieces, and become frames.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Takes what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// [`FrameError`] as soon as a length of more than `most` has come; what follows makes no sense
    /// then.
    pub fn next(&mut self, most: usize) -> Result<Option<Vec<u8>>, FrameError> {
        let Some(length) = self.bytes.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > most {
            return Err(FrameError { length, most });
        }
        let end = LENGTH + length;
        if self.bytes.len() < end {
            return Ok(None);
        }
        let rest = self.bytes.split_off(end);
        let mut frame = std::mem::replace(&mut self.bytes, rest);
        frame.drain(..LENGTH);
        Ok(Some(frame))
    }

    /// Whether [`next`](Self::next) has something to say.
    #[must_use]
    pub fn has_whole(&self, most: usize) -> bool {
        self.bytes.first_chunk::<LENGTH>().is_some_and(|length| {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            length > most || self.bytes.len() >= LENGTH + length
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_read() {
        let bytes = serde_json::to_vec(&Request::new(Command::Settle)).unwrap();
        assert_eq!(bytes, br#"{"version":1,"request":"settle"}"#);
        assert_eq!(Request::parse(&bytes), Ok(Command::Settle));
        let wrong = |text: &str| Request::parse(text.as_bytes()).unwrap_err();
        assert_eq!(
            wrong(r#"{"version":2,"request":"status"}"#),
            "version 2 is not spoken here; give version 1"
        );
        assert_eq!(
            wrong(r#"{"version":1,"request":"dance"}"#),
            "unknown request \"dance\"; give status, reload, settle or wait"
        );
        let device = DeviceId::from_sysname("vif-5-0").unwrap();
        let wait = Command::Wait(device);
        assert_eq!(Request::parse(&serde_json::to_vec(&Request::new(wait)).unwrap()), Ok(wait));
        assert!(
            wrong(r#"{"version":1,"request":"wait","device":"x"}"#)
                .starts_with("\"x\" is no device")
        );
        assert!(wrong("[").starts_with("not a request: "));
    }

    #[test]
    fn answers_say_what_they_are() {
        let text = serde_json::to_string(&Response::from(Answer::Done)).unwrap();
        assert_eq!(text, r#"{"version":1,"answer":"done"}"#);
        let error = Response::from(Answer::Error { message: "no".to_owned() });
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(text, r#"{"version":1,"answer":"error","message":"no"}"#);
        assert_eq!(serde_json::from_str::<Response>(&text).unwrap(), error);
    }

    #[test]
    fn a_frame_may_not_be_too_long() {
        let mut frames = Frames::default();
        frames.push(&[0, 0, 0x40, 1]);
        let error = frames.next(MAX_REQUEST).unwrap_err();
        assert_eq!(error.to_string(), "a frame of 16385 bytes, more than 16384");
        assert!(frame(&[0; 11], 10).is_err());
    }

    proptest! {
        #[test]
        fn frames_come_through_in_any_pieces(
            messages in vec(vec(any::<u8>(), 0..50), 0..5),
            piece in 1usize..20,
        ) {
            let frames = messages.iter().flat_map(|message| frame(message, 50).unwrap());
            let bytes: Vec<u8> = frames.collect();
            let (mut frames, mut read) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(piece) {
                frames.push(piece);
                while let Some(frame) = frames.next(50).unwrap() {
                    read.push(frame);
                }
            }
            prop_assert_eq!(read, messages);
            prop_assert!(!frames.has_whole(50));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Request::parse(&bytes);
            let mut frames = Frames::default();
            frames.push(&bytes);
            while let Ok(Some(frame)) = frames.next(100) {
                prop_assert!(frame.len() <= 100);
            }
        }
    }
}
