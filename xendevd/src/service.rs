//! What systemd is told (sd_notify(3)), and how long it may hear nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// systemd, if it has started us and wants to know.
#[derive(Debug)]
pub(crate) struct Service {
    status: String,
    /// How often it wants to hear that we live.
    pulse: Option<Duration>,
    next: Instant,
}

impl Service {
    pub(crate) fn new() -> Self {
        // Twice as often as it must be.
        Self {
            status: String::new(),
            pulse: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            next: Instant::now(),
        }
    }

    pub(crate) fn ready(&mut self) {
        tell(&[NotifyState::Ready]);
    }

    pub(crate) fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    pub(crate) fn stopping(&mut self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Shows this in `systemctl status`.
    pub(crate) fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            tell(&[NotifyState::Status(status)]);
        }
    }

    /// Says that we live, if it is time to.
    pub(crate) fn pulse(&mut self, now: Instant) {
        if let Some(pulse) = self.pulse
            && now >= self.next
        {
            self.next = now + pulse;
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// When it is time again.
    pub(crate) fn next_pulse(&self) -> Option<Instant> {
        self.pulse.map(|_| self.next)
    }
}

/// Without systemd there is nobody to tell, and that is fine.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd cannot be told: {error}");
    }
}
