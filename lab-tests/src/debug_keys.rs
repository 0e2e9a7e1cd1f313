//! What the hypervisor itself prints about the host when a debug key is pressed: a witness that
//! needs no xenstored, and none of our software.

use crate::xl::xl;

/// Has Xen print what these keys stand for, and returns what it printed for the first of them and
/// for those behind it.
#[track_caller]
pub fn press(keys: &str) -> String {
    xl(&["debug-keys", keys]).ok();
    let ring = xl(&["dmesg"]).ok();
    let begin = format!("'{}' pressed", &keys[..1]);
    let at = ring.rfind(&begin).expect("Xen's ring of messages has room for the answer");
    let lines = ring[at..].lines().map(|line| line.trim_start_matches("(XEN)").trim());
    lines.collect::<Vec<_>>().join("\n")
}

/// The domains in an answer to `q`: number, whether it is dying, UUID.
#[track_caller]
pub fn domains(answer: &str) -> Vec<String> {
    let mut domains = Vec::new();
    for line in answer.lines() {
        if let Some(rest) = line.strip_prefix("General information for domain ") {
            domains.push(format!("domain {}", rest.trim_end_matches(':')));
        } else if let Some(domain) = domains.last_mut() {
            for word in line.split_whitespace() {
                if word.starts_with("handle=") || word.starts_with("dying=") {
                    domain.push_str(&format!(" {word}"));
                }
            }
        }
    }
    assert!(domains.iter().any(|line| line.starts_with("domain 0 ")), "no domain 0 in: {answer}");
    domains
}
