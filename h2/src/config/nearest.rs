//! What a misspelt key was probably meant to be.

/// `did you mean ...` for a key that is close to a known one, the list of the known ones for any
/// other.
pub(super) fn hint(unknown: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|key| (distance(&unknown.to_lowercase(), key), key))
        .filter(|&(distance, key)| distance <= (key.len() / 3).max(1))
        .min();
    match nearest {
        Some((_, key)) => format!("did you mean `{key}`?"),
        None => format!("the keys here are {}", known.join(", ")),
    }
}

/// How many letters must be put in, taken out, replaced, or swapped with their neighbour to make
/// one word the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("memory", "memory"), 0);
        assert_eq!(distance("memroy", "memory"), 1);
        assert_eq!(distance("memor", "memory"), 1);
        assert_eq!(distance("", "mac"), 3);
        assert_eq!(distance("bridge", "ip"), 5);
    }

    #[test]
    fn hints() {
        let keys = ["mac", "ip", "bridge"];
        assert_eq!(hint("mca", &keys), "did you mean `mac`?");
        assert_eq!(hint("Bridge", &keys), "did you mean `bridge`?");
        assert_eq!(hint("model", &keys), "the keys here are mac, ip, bridge");
    }
}
