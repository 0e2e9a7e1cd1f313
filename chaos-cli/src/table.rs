//! Tables of text: columns as wide as their widest cell, numbers to the right.

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Lays out `rows` below the titles of `columns`. A row that is too short ends early; cells beyond
/// the columns are dropped.
pub(crate) fn layout(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let titles: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            rows.iter()
                .chain([&titles])
                .filter_map(|row| row.get(column))
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in [&titles].into_iter().chain(rows) {
        let cells: Vec<String> = columns
            .iter()
            .zip(row)
            .zip(&widths)
            .map(|(((_, align), cell), width)| pad(cell, *width, *align))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Lays out names and values below each other, as `xl info` does.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let widest = pairs.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let lines = pairs.iter().map(|(name, value)| {
        format!("{} : {value}", pad(name, widest, Align::Left)).trim_end().to_owned() + "\n"
    });
    lines.collect()
}

/// Characters, which for names of guests is near enough to columns of a terminal.
fn width(text: &str) -> usize {
    text.chars().count()
}

fn pad(text: &str, to: usize, align: Align) -> String {
    let space = " ".repeat(to.saturating_sub(width(text)));
    match align {
        Align::Left => format!("{text}{space}"),
        Align::Right => format!("{space}{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_fit_their_cells() {
        let columns = [("Name", Align::Left), ("ID", Align::Right), ("State", Align::Left)];
        let text =
            layout(&columns, &[row(&["Domain-0", "0", "r-----"]), row(&["größe", "1021", ""])]);
        assert_eq!(text, "Name        ID  State\nDomain-0     0  r-----\ngröße     1021\n");
        assert_eq!(layout(&columns, &[]), "Name  ID  State\n");
    }

    #[test]
    fn pairs_align_their_colons() {
        assert_eq!(
            pairs(&[("cpus", "2".into()), ("memory_kib", "7".into())]),
            "cpus       : 2\nmemory_kib : 7\n"
        );
    }
}
