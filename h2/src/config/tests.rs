#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::Path;

use super::*;
use crate::id::DomId;

fn read(text: &str) -> Result<GuestConfig, ConfigError> {
    GuestConfig::from_json(text, "g.json")
}

/// A configuration with these keys behind the ones that must be there, which are all in line 1.
fn with(keys: &str) -> Result<GuestConfig, ConfigError> {
    read(&format!("{{ \"name\": \"web0\", \"kernel\": \"/k\", \"memory\": 16,\n{keys} }}"))
}

fn message(keys: &str) -> String {
    with(keys).unwrap_err().to_string()
}

const FULL: &str = r#"{
  "name": "web0",
  "kernel": "/guests/minipython.gz",
  "ramdisk": "/guests/initrd.img",
  "cmdline": "console=hvc0",
  "memory": 16,
  "vcpus": { "count": 2, "cpumap": [ [4, 5], [6] ] },
  "address_size": 64,
  "vifs": [ { "ip": "10.0.0.2", "mac": "00:16:3e:00:00:01", "bridge": "xenbr" } ],
  "vbds": [ { "target": "/srv/d0.img", "type": "file", "vdev": "xvda", "access": "w" } ],
  "paused": false,
  "xen": { "pvh": false, "dev_method": "noxs" }
}"#;

#[test]
fn the_full_example_of_the_original() {
    let config = read(FULL).unwrap();
    assert_eq!(config.name.as_str(), "web0");
    assert_eq!(config.guest_type, GuestType::Pv);
    assert_eq!(config.memory_pages(), Pages::new(4096));
    assert_eq!(config.maxmem_kib(), KiB::new(16 * 1024));
    assert_eq!(config.vcpus.count(), 2);
    assert_eq!(
        config.vcpus.affinity().map(|(_, set)| set.cpus().len()).collect::<Vec<_>>(),
        [2, 1]
    );
    assert_eq!(config.vifs[0].mac.unwrap().to_string(), "00:16:3e:00:00:01");
    assert_eq!(config.vifs[0].backend, DomId::DOM0);
    assert_eq!(config.vbds[0].vdev.number(), 202 << 8);
    assert_eq!(config.plane, Some(Plane::Noxs));
    assert_eq!(config.on_reboot, StopAction::Restart);
}

#[test]
fn all_new_keys() {
    let config = with(
        r#""type": "pvh", "maxmem": 32, "vcpus": 3, "uuid": "6b7a3f52-96d5-4c6e-9d0a-3a2b0c1d4e5f",
        "on_poweroff": "preserve", "on_reboot": "destroy", "on_crash": "restart",
        "cpu_weight": 512, "cpu_cap": 50,
        "max_grant_frames": 4, "max_event_channels": 127, "tsc_mode": "native",
        "paused": true, "xen": {"pvh": true},
        "vifs": [{"script": "vif-min", "rate": "10Mb/s", "backend": 3}],
        "vbds": [{"target": "/dev/vda", "type": "phy", "vdev": "xvdb1", "access": "r",
                  "format": "raw", "backend": 4}]"#,
    )
    .unwrap();
    assert_eq!(config.guest_type, GuestType::Pvh);
    assert_eq!(config.maxmem_kib(), KiB::new(32 * 1024));
    assert_eq!((config.on_poweroff, config.on_crash), (StopAction::Preserve, StopAction::Restart));
    assert_eq!((config.cpu_weight, config.cpu_cap), (Some(512), Some(50)));
    assert_eq!((config.max_grant_frames, config.max_event_channels), (Some(4), Some(127)));
    assert_eq!(config.tsc_mode.number(), 2);
    assert_eq!(config.vifs[0].backend.get(), 3);
    assert_eq!(config.plane, None);
    assert!(config.paused);
}

#[test]
fn what_is_written_reads_back() {
    for text in [FULL, "{\"name\":\"a\",\"kernel\":\"k\",\"memory\":1}"] {
        let config = read(text).unwrap().instance();
        assert_eq!(read(&config.to_json().unwrap()).unwrap(), config);
    }
}

#[test]
fn messages_name_file_line_key_value_and_what_is_right() {
    let table = [
        (r#""memroy": 3"#, "g.json:2: unknown key `memroy`; did you mean `memory`?"),
        (
            r#""vifs": [{}, {"model": "e1000"}]"#,
            "g.json:2: unknown key `vifs[1].model`; the keys here are ip, mac, bridge, script, \
             rate, backend",
        ),
        (r#""memory": 3"#, "g.json:2: key `memory` was given before, in line 1; leave one of them"),
        (
            "\"vifs\": [\n{},\n{\"bridge\": \"b\",\n\"mac\": \"zz\"}]",
            "g.json:5: key `vifs[1].mac`: \"zz\" is not a MAC address; give six pairs of \
             hexadecimal digits of one \
             station, as in 00:16:3e:12:34:56",
        ),
        (r#""vcpus": 0"#, "g.json:2: key `vcpus`: 0 is not a number of vcpus; give 1 to 128"),
        (r#""vcpus": 1.5"#, "g.json:2: key `vcpus`: 1.5 is not a number of vcpus; give 1 to 128"),
        (r#""vcpus": "2""#, "g.json:2: key `vcpus`: \"2\" is not a number of vcpus; give 1 to 128"),
        (r#""vcpus": {}"#, "g.json:2: key `vcpus.count` is missing; give 1 to 128"),
        (
            r#""vcpus": {"count": 1, "cpumap": [[], [1]]}"#,
            "g.json:2: key `vcpus.cpumap`: 2 rows are too many for 1 vcpus; give one list of CPUs \
             for each vcpu, or fewer",
        ),
        (
            r#""vcpus": {"count": 1, "cpumap": [[4096]]}"#,
            "g.json:2: key `vcpus.cpumap[0][0]`: 4096 is not a physical CPU; give 0 to 4095",
        ),
        (
            r#""maxmem": 15"#,
            "g.json:2: key `maxmem`: 15 MiB is less than the `memory` of 16 MiB; give as much or \
             more",
        ),
        (
            r#""address_size": 32"#,
            "g.json:2: key `address_size`: 32-bit PV guests are not supported; give 64, or leave \
             it out",
        ),
        (
            r#""address_size": 48"#,
            "g.json:2: key `address_size`: 48 is not an address size; give 64, or leave it out",
        ),
        (
            r#""type": "hvm""#,
            "g.json:2: key `type`: \"hvm\" is not a guest type; give \"pv\" or \"pvh\"",
        ),
        (
            r#""type": "pv", "xen": {"pvh": true}"#,
            "g.json:2: key `xen.pvh`: it says \"pvh\" where `type` says \"pv\"; leave `xen.pvh` \
             out",
        ),
        (r#""paused": 1"#, "g.json:2: key `paused`: 1 is not a truth value; give true or false"),
        (
            r#""ramdisk": """#,
            "g.json:2: key `ramdisk`: \"\" is not the path of a ramdisk; give a path",
        ),
        (
            r#""cmdline": "a\u0000b""#,
            "g.json:2: key `cmdline`: '\\0' cannot be part of a command line; give one line of \
             text",
        ),
        (
            r#""cmdline": null"#,
            "g.json:2: key `cmdline`: null is not a command line; give one line of text",
        ),
        (
            r#""vifs": {}"#,
            "g.json:2: key `vifs`: an object is not a list of interfaces; give a list, [ ... ]",
        ),
        (
            "\"vifs\": [{\"mac\": \"0:16:3e:0:0:1\"},\n {\"mac\": \"00:16:3e:00:00:01\"}]",
            "g.json:3: key `vifs[1].mac`: 00:16:3e:00:00:01 is the address of `vifs[0]` too; give \
             each its own, or none",
        ),
        (
            r#""vbds": [{"target": "/d", "type": "file", "access": "w"}]"#,
            "g.json:2: key `vbds[0].vdev` is missing; give xvdLETTERS[PARTITION] or \
             dNUMBERpPARTITION, as in xvda or \
             xvdb1 (hda to hdd and sda to sdp work too)",
        ),
        // The original's message for a wrong type said 'access'.
        (
            r#""vbds": [{"target": "/d", "type": "tap", "vdev": "xvda", "access": "w"}]"#,
            "g.json:2: key `vbds[0].type`: \"tap\" is not a disk type; give \"phy\" or \"file\"",
        ),
        (
            "\"vbds\": [{\"target\": \"/d\", \"type\": \"phy\", \"vdev\": \"d0p0\", \"access\": \
             \"w\"},\n\
             {\"target\": \"/e\", \"type\": \"phy\", \"vdev\": \"xvda\", \"access\": \"w\"}]",
            "g.json:3: key `vbds[1].vdev`: \"xvda\" is the disk of `vbds[0]` too; give each its \
             own",
        ),
        (
            r#""uuid": "00000000-0000-0000-0000-000000000000""#,
            "g.json:2: key `uuid`: \"00000000-0000-0000-0000-000000000000\" is not a UUID; give \
             32 hexadecimal digits, \
             not all zero, as in 6b7a3f52-96d5-4c6e-9d0a-3a2b0c1d4e5f",
        ),
        (
            r#""cpu_weight": 0"#,
            "g.json:2: key `cpu_weight`: 0 is not a scheduler weight; give 1 to 65535",
        ),
        (
            r#""vcpus": 2,"#,
            "g.json:2: not JSON: expected a key in quotation marks; is there a comma too many? \
             (column 13)",
        ),
        (r#""vcpus": 2 "paused": true"#, "g.json:2: not JSON: expected `,` or `}` (column 12)"),
    ];
    for (keys, expected) in table {
        assert_eq!(message(keys), expected);
    }
}

// Found by fuzzing: a key with a line feed in it broke the message into two lines.
#[test]
fn messages_are_one_line_and_short() {
    assert_eq!(message(r#""\name": 1"#), r"g.json:2: unknown key `\name`; did you mean `name`?");
    assert!(
        message("\"vifs\": [{\"a\\u001b[2J\": 1}]")
            .starts_with("g.json:2: unknown key `vifs[0].a\\u{1b}[2J`; ")
    );
    assert!(message("\"type\": \"\u{9b}2J\"").contains("\\u{9b}"));
    assert!(message("\"paused\": \"\u{9b}2J\"").contains("\\u{9b}"));
    let long = "x".repeat(10_000);
    assert!(message(&format!("\"{long}\": 1")).len() < 500);
    for key in ["paused", "type", "uuid", "memory"] {
        assert!(
            read(&format!("{{\"kernel\": \"k\", \"{key}\": \"{long}\"}}"))
                .unwrap_err()
                .to_string()
                .len()
                < 500
        );
        assert!(message(&format!("\"{key}\": \"{long}\"")).len() < 500, "{key}");
    }
    assert!(GuestName::new(long).unwrap_err().to_string().len() < 300);
}

#[test]
fn memory_is_bounded() {
    for memory in ["0", "-4", "16777217", "1e3", "99999999999999999999999", "\"16\"", "16.0"] {
        let text = format!("{{ \"name\": \"a\", \"kernel\": \"/k\",\n\n \"memory\":\n {memory}}}");
        let expected =
            format!("g.json:4: key `memory`: {memory} is not a size; give MiB, 1 to 16777216");
        assert_eq!(read(&text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn what_is_not_an_object() {
    let table = [
        ("", "g.json:1: not JSON: it is empty (column 1)"),
        (
            "\n[]",
            "g.json:2: key `(all of it)`: a list is not a guest configuration; give an object, { \
             \"name\": ... }",
        ),
        ("{\n\"name\": ", "g.json:2: not JSON: EOF while parsing a value (column 8)"),
        ("\n{}\nx", "g.json:3: not JSON: trailing characters (column 1)"),
        (
            "\n\n{}",
            "g.json:3: key `name` is missing; give 1 to 64 bytes that are not a number and hold \
             no / and no control \
             character",
        ),
        ("\n{\"\\ud800\": 1}", "g.json:2: not JSON: unexpected end of hex escape (column 9)"),
    ];
    for (text, expected) in table {
        assert_eq!(read(text).unwrap_err().to_string(), expected, "{text}");
    }
    // Nesting does not use up the stack.
    assert!(read(&"[".repeat(100_000)).is_err());
    assert!(with(&format!("\"vifs\": {}{}", "[".repeat(100_000), "]".repeat(100_000))).is_err());
}

// The original took a missing command line for a null pointer.
#[test]
fn only_three_keys_are_required() {
    let config = with("\"paused\": false").unwrap();
    assert_eq!(config.cmdline, None);
    assert_eq!(config.vcpus, Vcpus::ONE);
    for (key, right) in [("kernel", "the path of a kernel image"), ("memory", "MiB, 1 to 16777216")]
    {
        let text = r#"{"name": "a", "kernel": "/k", "memory": 1}"#;
        let start = text.find(key).unwrap() - 1;
        let text = match text[start..].find(", ") {
            Some(length) => format!("{}{}", &text[..start], &text[start + length + 2..]),
            None => format!("{}}}", &text[..start - 2]),
        };
        assert_eq!(
            read(&text).unwrap_err().to_string(),
            format!("g.json:1: key `{key}` is missing; give {right}")
        );
    }
}

#[test]
fn command_lines_are_bounded_by_type() {
    let line = |length: usize, kind: &str| {
        with(&format!("\"type\": \"{kind}\", \"cmdline\": \"{}\"", "x".repeat(length)))
    };
    assert!(line(1023, "pv").is_ok());
    assert_eq!(
        line(1024, "pv").unwrap_err().to_string(),
        "g.json:2: key `cmdline`: 1024 bytes are too long; a pv guest's command line has at most \
         1023"
    );
    assert!(line(1024, "pvh").is_ok());
    assert!(line(4096, "pvh").is_err());
}

#[test]
fn a_configuration_built_in_memory_is_checked_too() {
    let mut config = GuestConfig::new(GuestName::new("a").unwrap(), "/k", MiB::new(4));
    assert!(config.check().is_ok());
    config.maxmem = Some(MiB::new(2));
    assert_eq!(
        config.check().unwrap_err().to_string(),
        "key `maxmem`: 2 MiB is less than the `memory` of 4 MiB; give as much or more"
    );
    config.memory = MiB::new(0);
    assert_eq!(
        config.check().unwrap_err().to_string(),
        "key `memory`: 0 is not a size; give MiB, 1 to 16777216"
    );
}

// The original made N guests of one name, MAC address and disk.
#[test]
fn copies_are_different() {
    let config = with(r#""vifs": [{"bridge": "b"}, {}]"#).unwrap();
    let copies: Vec<GuestConfig> = config.instances(1000).unwrap().collect();
    assert_eq!(copies.len(), 1000);
    assert_eq!((copies[0].name.as_str(), copies[999].name.as_str()), ("web0-1", "web0-1000"));
    assert_eq!(copies.iter().map(|copy| copy.uuid.unwrap()).collect::<HashSet<_>>().len(), 1000);
    let macs = copies.iter().flat_map(|copy| copy.vifs.iter().map(|vif| vif.mac.unwrap()));
    assert_eq!(macs.collect::<HashSet<_>>().len(), 2000);
    assert!(copies.iter().all(|copy| copy.check().is_ok()));
}

#[test]
fn a_single_copy_keeps_what_it_was_given() {
    let config = read(FULL).unwrap();
    let copies: Vec<GuestConfig> = config.instances(1).unwrap().collect();
    assert_eq!(copies[0].name, config.name);
    assert_eq!(copies[0].vifs, config.vifs);
    assert_eq!(copies.len(), 1);
}

#[test]
fn what_cannot_be_copied() {
    let table = [
        (r#""uuid": "6b7a3f52-96d5-4c6e-9d0a-3a2b0c1d4e5f""#, "uuid"),
        (r#""vifs": [{}, {"mac": "00:16:3e:00:00:01"}]"#, "vifs[1].mac"),
        (r#""vifs": [{"ip": "10.0.0.2"}]"#, "vifs[0].ip"),
        (
            r#""vbds": [{"target": "/d", "type": "file", "vdev": "xvda", "access": "w"}]"#,
            "vbds[0].access",
        ),
    ];
    for (keys, expected) in table {
        let config = with(keys).unwrap();
        assert!(config.instances(1).is_ok());
        match config.instances(2).unwrap_err() {
            ConfigError::Value { key, .. } => assert_eq!(key, expected),
            other => panic!("{other}"),
        }
    }
    let config = with("\"paused\": false").unwrap();
    assert!(config.instances(0).is_err());
    assert!(config.instances(32_752).is_err());
    let mut config = config;
    config.name = GuestName::new("x".repeat(62)).unwrap();
    assert!(config.instances(9).is_ok());
    assert!(config.instances(10).is_err());
}

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g.json");
    std::fs::write(&file, r#"{"name": "a", "kernel": "hello", "memory": 4, "ramdisk": "/abs"}"#)
        .unwrap();
    let config = GuestConfig::from_file(&file).unwrap();
    assert_eq!(config.kernel, folder.path().join("hello"));
    assert_eq!(config.ramdisk.as_deref(), Some(Path::new("/abs")));

    std::fs::write(&file, b"{\n\"name\": \"\xff\"}").unwrap();
    let error = GuestConfig::from_file(&file).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{}:2: not UTF-8 text; a guest configuration is JSON in UTF-8", file.display())
    );

    std::fs::write(&file, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(matches!(GuestConfig::from_file(&file), Err(ConfigError::TooLarge { .. })));
    assert!(matches!(GuestConfig::from_file(folder.path()), Err(ConfigError::Read { .. })));
    let missing = GuestConfig::from_file(folder.path().join("no.json")).unwrap_err();
    assert!(matches!(&missing, ConfigError::Read { source, .. }
            if source.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn every_example_in_the_documentation_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let config = GuestConfig::from_file(&path).unwrap();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(stem.ends_with(config.guest_type.as_str()), "{stem}");
            names.push(stem);
        }
    }
    for expected in
        ["hello-pv", "hello-pvh", "linux-pv", "linux-pvh", "noop-pv", "noop-pvh", "pinned-pv"]
    {
        assert!(names.iter().any(|name| name == expected), "{expected} is not among {names:?}");
    }
}

#[test]
fn the_documentation_names_every_key() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(page).unwrap();
    for key in read::ALL_KEYS.iter().copied().flatten() {
        assert!(
            text.contains(&format!("| `{key}` |")),
            "{key} is missing in docs/configuration.md"
        );
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in ".{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn no_damage_to_a_good_text_is_a_panic(
            changes in prop::collection::vec((0..FULL.len(), any::<prop::sample::Index>()), 1..8),
        ) {
            let letters = br#"{}[]",:0189-.e\u nxvda"#;
            let mut bytes = FULL.as_bytes().to_vec();
            for (at, letter) in changes {
                bytes[at] = letters[letter.index(letters.len())];
            }
            if let Err(error) = read(std::str::from_utf8(&bytes).unwrap()) {
                prop_assert!(!error.to_string().contains('\n'));
                prop_assert!(error.to_string().starts_with("g.json:"), "{}", error);
            }
        }

        #[test]
        fn numbers_and_words_read_back(
            memory in 1_u64..=16_777_216,
            more in prop::option::of(0_u64..100),
            count in 1_u32..=128,
            rows in prop::collection::vec(prop::collection::vec(0_u16..4096, 0..4), 0..2),
            cmdline in prop::option::of("[ -~äß]{0,80}"),
            name in "[a-z][a-zA-Z0-9._-]{0,40}",
            kernel in "/[ -~ü]{1,40}",
            vdevs in prop::collection::btree_set("xvd[a-z]", 0..4),
            paused: bool,
        ) {
            let name = GuestName::new(name).unwrap();
            let mut config = GuestConfig::new(name, kernel, MiB::new(memory));
            let most = more.map(|more| memory + more).filter(|most| *most <= 16_777_216);
            config.maxmem = most.map(MiB::new);
            let rows = if count > 1 { rows } else { Vec::new() };
            let rows = rows.into_iter().map(|row| CpuSet::new(row).unwrap());
            config.vcpus = Vcpus::pinned(count, rows.collect()).unwrap();
            config.cmdline = cmdline;
            config.paused = paused;
            config.vifs = vec![Vif { rate: "1MB/s".parse().ok(), ..Vif::default() }; 2];
            config.vbds = vdevs
                .iter()
                .map(|vdev| Vbd::new("/d", DiskType::File, vdev.parse().unwrap(), Access::Read))
                .collect();
            config.plane = paused.then_some(Plane::Xenstore);
            let config = config.instance();
            prop_assert_eq!(read(&config.to_json().unwrap()).unwrap(), config);
        }

        #[test]
        fn small_values_never_panic(text in "[a-z0-9:.@/xvdphMKGbBs]{0,24}") {
            let _ = text.parse::<Mac>();
            let _ = text.parse::<Vdev>();
            let _ = text.parse::<Rate>();
            let _ = text.parse::<Interface>();
            let _ = GuestName::new(text);
        }
    }
}
