//! What may be typed: the commands, their arguments, and the text of --help. The manual pages are
//! generated from it.

mod create;
mod device;
mod guest;
mod life;
mod noxs;
mod tune;

use clap::{ArgAction, Args, Parser, Subcommand};

pub(crate) use self::create::CreateArgs;
pub(crate) use self::device::{AttachArgs, DetachArgs, DeviceArgs, DeviceCommand, DeviceListArgs};
pub(crate) use self::guest::{Guest, GuestsArgs};
pub(crate) use self::life::{ConsoleArgs, RebootArgs, RenameArgs, ShutdownArgs};
pub(crate) use self::noxs::{NoxsArgs, NoxsCommand};
pub(crate) use self::tune::{InfoArgs, MemMaxArgs, SchedArgs, Vcpu, VcpuPinArgs};
use crate::exit;
use crate::output::Format;

/// Create and manage light virtual machines on Xen
///
/// chaos makes Xen guests from small JSON files, fast, and looks after them. It must run as root in
/// the control domain (dom0) of a Xen host. Guests are named by their name or their domain id;
/// guests that xl made can be managed, too.
#[derive(Debug, Parser)]
#[command(
    name = "chaos",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    infer_subcommands = false,
    after_help = "Examples:\n  chaos create web0.json\n  chaos list\n  chaos console web0\
                  \n  chaos shutdown web0",
    after_long_help = format!(
        "Examples:\n  chaos create web0.json\n  chaos list\n  chaos console web0\
         \n  chaos shutdown web0\n\n{}\n\
         Environment:\n  CHAOS_LOG, RUST_LOG  what is logged unless -q or -v is given, such as \
         info or h2=debug",
        exit::help()
    )
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// How data is printed
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Say more on standard error about what is done; twice for details, three times for
    /// everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print errors only, no warnings
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(CreateArgs),
    /// List all guests and the control domain
    ///
    /// State has one letter at one of six places, as in xl: r running, b blocked (idle), p paused,
    /// s shut down, c crashed, d dying; none of them means ready to run. Time is the CPU time
    /// that the guest has used.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  chaos list\n  chaos list --format json | jq -r '.[].name'"
    )]
    List,
    /// Destroy guests at once
    ///
    /// The guests are not asked: what they have not written to their disks is lost. `chaos
    /// shutdown` asks them.
    #[command(after_help = "Examples:\n  chaos destroy web0\n  chaos destroy 5 6 7")]
    Destroy(GuestsArgs),
    Shutdown(ShutdownArgs),
    Reboot(RebootArgs),
    /// Pause guests
    ///
    /// A paused guest keeps its memory and gets no CPU until it is unpaused.
    #[command(after_help = "Example:\n  chaos pause web0")]
    Pause(GuestsArgs),
    /// Let paused guests run on
    #[command(after_help = "Example:\n  chaos unpause web0")]
    Unpause(GuestsArgs),
    Console(ConsoleArgs),
    Rename(RenameArgs),
    Device(DeviceArgs),
    Info(InfoArgs),
    VcpuPin(VcpuPinArgs),
    Sched(SchedArgs),
    MemMax(MemMaxArgs),
    Noxs(NoxsArgs),
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.kind())
    }

    #[test]
    fn definition_is_sound() {
        crate::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in ["chaos --format json -vv list", "chaos list --format json -v -v"] {
            let cli = parse(line).unwrap();
            assert_eq!(
                (cli.global.format, cli.global.verbose, cli.global.quiet),
                (Format::Json, 2, false),
                "{line}"
            );
        }
        assert_eq!(parse("chaos list").unwrap().global.format, Format::Table);
        assert_eq!(parse("chaos -q -v list").unwrap_err(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn wrong_lines() {
        assert_eq!(
            parse("chaos").unwrap_err(),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
        assert_eq!(parse("chaos frobnicate").unwrap_err(), ErrorKind::InvalidSubcommand);
        assert_eq!(parse("chaos destroy").unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(parse("chaos create a.json b.json").unwrap_err(), ErrorKind::UnknownArgument);
        assert_eq!(parse("chaos create -n 0 a.json").unwrap_err(), ErrorKind::ValueValidation);
        assert_eq!(parse("chaos list --format xml").unwrap_err(), ErrorKind::InvalidValue);
    }

    #[test]
    fn every_command_has_an_example() {
        for command in
            crate::command().get_subcommands().filter(|command| command.get_name() != "help")
        {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(
                help.starts_with("Example") && help.contains(&format!("chaos {name}")),
                "{name}"
            );
            assert!(command.get_about().is_some(), "{name}");
        }
    }

    #[test]
    fn create_options() {
        let Command::Create(create) =
            parse("chaos create -n 3 -p --stats web.json").unwrap().command
        else {
            panic!()
        };
        assert_eq!(
            (create.count, create.paused, create.stats, create.console),
            (3, true, true, false)
        );
        assert_eq!(
            parse("chaos create -c --dry-run web.json").unwrap_err(),
            ErrorKind::ArgumentConflict
        );
    }

    #[test]
    fn noxs_dump() {
        let Command::Noxs(noxs) = parse("chaos noxs dump web0").unwrap().command else { panic!() };
        let NoxsCommand::Dump(dump) = noxs.command;
        assert_eq!(dump.guest.as_str(), "web0");
        assert_eq!(
            parse("chaos noxs").unwrap_err(),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
    }

    #[test]
    fn device_options() {
        let device = |line| match parse(line).unwrap().command {
            Command::Device(device) => device.command,
            other => panic!("{other:?}"),
        };
        for (line, wait) in [
            ("chaos device attach web0 vif --bridge xenbr0", None),
            ("chaos device attach web0 vif --wait --bridge xenbr0", Some(10)),
            ("chaos device attach --wait=60 web0 vif", Some(60)),
        ] {
            let DeviceCommand::Attach(attach) = device(line) else { panic!("{line}") };
            assert_eq!(
                (attach.guest.as_str(), attach.wait.map(|wait| wait.as_secs())),
                ("web0", wait),
                "{line}"
            );
        }
        let DeviceCommand::Attach(attach) =
            device("chaos device attach 5 vbd --target /x --type phy --vdev xvdb --access r")
        else {
            panic!()
        };
        let Ok(h2::DeviceConfig::Vbd(vbd)) = attach.device.config() else { panic!() };
        assert_eq!(
            (vbd.vdev.name(), vbd.access.as_str(), vbd.disk_type.as_str()),
            ("xvdb", "r", "phy")
        );
        let DeviceCommand::Detach(detach) = device("chaos device detach web0 vbd xvdb") else {
            panic!()
        };
        assert_eq!(
            (detach.id.as_str(), detach.force, detach.timeout.as_secs()),
            ("xvdb", false, 10)
        );
        for (line, error) in [
            ("chaos device attach web0 vbd --vdev xvda", ErrorKind::MissingRequiredArgument),
            ("chaos device attach web0 vif --mac 1", ErrorKind::ValueValidation),
            ("chaos device detach web0 tty 1", ErrorKind::InvalidValue),
            ("chaos device detach web0 vif 1 --force --timeout 3", ErrorKind::ArgumentConflict),
        ] {
            assert_eq!(parse(line).unwrap_err(), error, "{line}");
        }
    }

    #[test]
    fn shutdown_options() {
        let shutdown = |line| match parse(line).unwrap().command {
            Command::Shutdown(shutdown) => shutdown,
            other => panic!("{other:?}"),
        };
        let plain = shutdown("chaos shutdown web0 5");
        assert_eq!(
            (plain.no_wait, plain.force, plain.keep, plain.timeout.as_secs()),
            (false, false, false, 60)
        );
        assert_eq!(shutdown("chaos shutdown --wait --timeout 1.5 web0").timeout.as_millis(), 1500);
        assert!(shutdown("chaos shutdown --no-wait web0").no_wait);
        assert_eq!(
            parse("chaos shutdown --no-wait --force web0").unwrap_err(),
            ErrorKind::ArgumentConflict
        );
        assert_eq!(
            parse("chaos shutdown --wait --no-wait web0").unwrap_err(),
            ErrorKind::ArgumentConflict
        );
        assert_eq!(
            parse("chaos shutdown --timeout -1 web0").unwrap_err(),
            ErrorKind::ValueValidation
        );
    }
}
