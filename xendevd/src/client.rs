//! The client's side of the request socket: every wait has a bound.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::device::DeviceId;
use crate::protocol::{
    Answer, Command, FrameError, Frames, MAX_REQUEST, MAX_RESPONSE, Request, Response, SOCKET,
    Status, VERSION, frame,
};

/// How long the daemon may take for an answer that takes no work.
const LIMIT: Duration = Duration::from_secs(10);

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    frames: Frames,
}

/// Why the daemon has not answered as one would like.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "xendevd cannot be reached at {}; is it running (systemctl status xendevd)?",
        path.display()
    )]
    NotThere {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or the answer did not come in time.
    #[error("xendevd has not answered")]
    NoAnswer(#[source] io::Error),
    /// What came makes no sense.
    #[error("xendevd has sent something that is no answer: {0}")]
    Nonsense(String),
    /// It has refused.
    #[error("{0}")]
    Refused(String),
}

impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> Self {
        Self::Nonsense(error.to_string())
    }
}

impl Client {
    /// Connects to the daemon of this host.
    ///
    /// # Errors
    /// [`ClientError::NotThere`].
    pub fn connect() -> Result<Self, ClientError> {
        Self::connect_to(Path::new(SOCKET))
    }

    /// Connects to the daemon that listens here.
    ///
    /// # Errors
    /// [`ClientError::NotThere`].
    pub fn connect_to(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path)
            .map_err(|source| ClientError::NotThere { path: path.to_owned(), source })?;
        Ok(Self { stream, path: path.to_owned(), frames: Frames::default() })
    }

    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the daemon is at.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask(Command::Status, LIMIT)? {
            Answer::Status(status) => Ok(*status),
            other => Err(ClientError::Nonsense(format!("{other:?}"))),
        }
    }

    /// Has it read its configuration again and look at everything anew.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn reload(&mut self) -> Result<(), ClientError> {
        self.ask(Command::Reload, LIMIT).map(drop)
    }

    /// Waits until it has dealt with all that has happened so far.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Refused`] if something stays under way for longer than the
    /// daemon waits, 30 s.
    pub fn settle(&mut self) -> Result<(), ClientError> {
        self.ask(Command::Settle, LIMIT + Duration::from_secs(30)).map(drop)
    }

    /// Waits until it serves this device.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Refused`] says why the device does not work.
    pub fn wait(&mut self, device: DeviceId) -> Result<(), ClientError> {
        self.ask(Command::Wait(device), LIMIT + Duration::from_secs(30)).map(drop)
    }

    fn ask(&mut self, command: Command, limit: Duration) -> Result<Answer, ClientError> {
        let nonsense = |error: serde_json::Error| ClientError::Nonsense(error.to_string());
        let request = serde_json::to_vec(&Request::new(command)).map_err(nonsense)?;
        let end = Instant::now() + limit;
        self.stream.set_write_timeout(Some(limit)).map_err(ClientError::NoAnswer)?;
        self.stream.write_all(&frame(&request, MAX_REQUEST)?).map_err(ClientError::NoAnswer)?;
        let response: Response = serde_json::from_slice(&self.receive(end)?).map_err(nonsense)?;
        match response.answer {
            _ if response.version != VERSION => {
                Err(ClientError::Nonsense(format!("version {}", response.version)))
            }
            Answer::Error { message } => Err(ClientError::Refused(message)),
            answer => Ok(answer),
        }
    }

    fn receive(&mut self, end: Instant) -> Result<Vec<u8>, ClientError> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            if let Some(frame) = self.frames.next(MAX_RESPONSE)? {
                return Ok(frame);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClientError::NoAnswer(io::ErrorKind::TimedOut.into()));
            }
            self.stream.set_read_timeout(Some(left)).map_err(ClientError::NoAnswer)?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ClientError::NoAnswer(io::ErrorKind::UnexpectedEof.into())),
                Ok(length) => self.frames.push(buffer.get(..length).unwrap_or_default()),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                Err(error) => return Err(ClientError::NoAnswer(error)),
            }
        }
    }
}
