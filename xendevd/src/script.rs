//! Hotplug scripts of somebody's own: run as Xen runs them, one process group each, and killed when
//! they take too long.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::device::{Class, DeviceId};

/// What a script is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Set the device up.
    Start,
    /// Take it down.
    Stop,
}

impl Action {
    /// The argument of Xen's scripts.
    fn argument(self, class: Class) -> &'static str {
        match (class, self) {
            (Class::Vif, Self::Start) => "online",
            (Class::Vif, Self::Stop) => "offline",
            (Class::Vbd, Self::Start) => "add",
            (Class::Vbd, Self::Stop) => "remove",
        }
    }
}

/// Which scripts may be run, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The folders that they must lie in.
    pub dirs: Vec<PathBuf>,
    /// How long one may run.
    pub time: Duration,
}

/// Why a script was not run, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// It lies where none may be run from.
    #[error("the script {} is in none of the folders that script_dirs names in the configuration \
             of xendevd", .0.display())]
    NotAllowed(PathBuf),
    /// Others than root could have written it.
    #[error("the script {} must belong to root and be writable for root alone", .0.display())]
    NotRoots(PathBuf),
    /// It cannot be started.
    #[error("the script {} cannot be run", path.display())]
    Start {
        /// The script.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("the script {} ended with {}", path.display(), how(*status))]
    Failed {
        /// The script.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// It was killed.
    #[error("the script {} took longer than {} s and was killed", path.display(), limit.as_secs())]
    TooLong {
        /// The script.
        path: PathBuf,
        /// How long it may take.
        limit: Duration,
    },
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// A script that runs. Dropped, it is killed.
#[derive(Debug)]
struct Running {
    child: Child,
    path: PathBuf,
    device: DeviceId,
    action: Action,
    end: Instant,
    limit: Duration,
}

/// A script that has ended.
#[derive(Debug)]
pub struct Finished {
    /// For which device it ran.
    pub device: DeviceId,
    /// What it was to do.
    pub action: Action,
    /// How that went.
    pub result: Result<(), ScriptError>,
}

/// The scripts that run.
#[derive(Debug, Default)]
pub struct Scripts {
    running: Vec<Running>,
}

impl Scripts {
    /// Starts a script for a device, with these variables beside the usual ones. One that still
    /// runs for this device is killed.
    ///
    /// # Errors
    /// [`ScriptError`].
    pub fn start(
        &mut self,
        path: &Path,
        device: DeviceId,
        action: Action,
        variables: &[(&str, String)],
        limits: &Limits,
    ) -> Result<(), ScriptError> {
        self.running.retain(|running| running.device != device);
        check(path, &limits.dirs)?;
        let mut command = Command::new(path);
        command
            .arg(action.argument(device.class))
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .env("script", path)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("XENBUS_TYPE", device.class.as_str())
            .env("XENBUS_BASE_PATH", "backend")
            .env("XENBUS_PATH", device.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .process_group(0);
        if device.class == Class::Vif {
            command.arg("type_if=vif").env("vif", device.interface());
        }
        let child = command
            .spawn()
            .map_err(|source| ScriptError::Start { path: path.to_owned(), source })?;
        let end = Instant::now() + limits.time;
        self.running.push(Running {
            child,
            path: path.to_owned(),
            device,
            action,
            end,
            limit: limits.time,
        });
        Ok(())
    }

    /// Those that have ended, or whose time was up. To be called when a child has ended, and at
    /// [`next_end`](Self::next_end).
    pub fn reap(&mut self, now: Instant) -> Vec<Finished> {
        let mut finished = Vec::new();
        self.running.retain_mut(|running| {
            let path = || running.path.clone();
            let result = match running.child.try_wait() {
                Ok(Some(status)) if status.success() => Ok(()),
                Ok(Some(status)) => Err(ScriptError::Failed { path: path(), status }),
                Ok(None) if now >= running.end => {
                    Err(ScriptError::TooLong { path: path(), limit: running.limit })
                }
                Ok(None) => return true,
                Err(source) => Err(ScriptError::Start { path: path(), source }),
            };
            finished.push(Finished { device: running.device, action: running.action, result });
            false
        });
        finished
    }

    /// When the time of the next one is up.
    #[must_use]
    pub fn next_end(&self) -> Option<Instant> {
        self.running.iter().map(|running| running.end).min()
    }

    /// How many run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.running.len()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What it has started in the background lives in its group, and goes with it when it had to
        // be stopped.
        if let (Ok(None), Ok(id)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
            // Killed, so this does not wait long.
            let _ = self.child.wait();
        }
    }
}

/// What our own script says of itself, which stands in for Xen's where this daemon does their work.
const HOOK: &str = "xendevd hook";

/// Whether this script is ours, under whatever name.
#[must_use]
pub fn is_hook(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(1024).read_to_end(&mut head));
    read.is_ok() && head.starts_with(b"#!") && String::from_utf8_lossy(&head).contains(HOOK)
}

/// Whether root alone decides what this script does.
fn check(path: &Path, dirs: &[PathBuf]) -> Result<(), ScriptError> {
    let failed = |source| ScriptError::Start { path: path.to_owned(), source };
    // Links are followed first: Xen's folder has some.
    let parent = path.parent().unwrap_or(Path::new("/")).canonicalize().map_err(failed)?;
    let allowed = dirs.iter().any(|dir| dir.canonicalize().is_ok_and(|dir| parent == dir));
    if !allowed {
        return Err(ScriptError::NotAllowed(path.to_owned()));
    }
    let metadata = path.metadata().map_err(failed)?;
    let by_others = metadata.mode() & 0o022 != 0;
    if !metadata.is_file() || metadata.uid() != 0 || by_others {
        return Err(ScriptError::NotRoots(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::thread::sleep;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A folder with a script in it that belongs to whoever runs the tests.
    fn script(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    fn run(text: &str, limit: Duration) -> Result<(), ScriptError> {
        let (dir, path) = script(text, 0o700);
        let device = DeviceId::from_sysname("vif-5-0").unwrap();
        let mut scripts = Scripts::default();
        let limits = Limits { dirs: vec![dir.path().to_owned()], time: limit };
        scripts.start(&path, device, Action::Start, &[("bridge", "xenbr0".to_owned())], &limits)?;
        let start = Instant::now();
        loop {
            if let Some(finished) = scripts.reap(Instant::now()).pop() {
                assert_eq!((finished.device, scripts.count()), (device, 0));
                return finished.result;
            }
            assert!(start.elapsed() < LONG, "the script did not end");
            sleep(Duration::from_millis(5));
        }
    }

    #[test]
    #[ignore = "needs root, to whom scripts must belong: the lab runs it"]
    fn scripts_get_the_environment_of_xens() {
        let test = r#"[ -z "$HOME" ] &&
            [ "$1 $2 $vif $XENBUS_PATH $bridge" = \
              "online type_if=vif vif5.0 backend/vif/5/0 xenbr0" ]"#;
        run(test, LONG).unwrap();
        assert!(run("exit 3", LONG).unwrap_err().to_string().ends_with("ended with status 3"));
        let error = run("sleep 1000", Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().ends_with("and was killed"));
    }

    #[test]
    fn the_hook_knows_itself() {
        assert!(is_hook(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/xendevd-hook"))));
        assert!(!is_hook(Path::new("/bin/sh")) && !is_hook(Path::new("/nowhere")));
    }

    #[test]
    fn scripts_that_others_could_have_written_are_not_run() {
        let (dir, path) = script("true", 0o722);
        let device = DeviceId::from_sysname("vif-5-0").unwrap();
        let start = |dir: &Path| {
            let limits = Limits { dirs: vec![dir.to_owned()], time: LONG };
            Scripts::default().start(&path, device, Action::Start, &[], &limits).unwrap_err()
        };
        assert!(matches!(start(dir.path()), ScriptError::NotRoots(_)));
        assert!(matches!(start(Path::new("/etc")), ScriptError::NotAllowed(_)));
    }
}
