//! Plain aligned columns, and numbers as people read them.
use crate::engine::Nanos;
use crate::engine::time::format_short;

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Colour of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paint {
    /// As it is.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// Something passed.
    Good,
    /// Something failed.
    Bad,
}

/// Paints a text if there is colour.
#[must_use]
pub fn paint(text: &str, paint: Paint, colour: bool) -> String {
    let code = match paint {
        _ if !colour => return text.to_owned(),
        Paint::Plain => return text.to_owned(),
        Paint::Bold => "1",
        Paint::Good => "32",
        Paint::Bad => "31",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Rows of cells that are padded to their column's width; two spaces between columns, none at the end of a line.
#[derive(Clone, Debug)]
pub struct Grid {
    align: Vec<Align>,
    rows: Vec<Vec<(String, Paint)>>,
    colour: bool,
}

impl Grid {
    /// A grid with a heading; a heading that begins with `>` is of a column of numbers.
    #[must_use]
    pub fn new(heading: &[&str], colour: bool) -> Self {
        let align = heading.iter().map(|h| if h.starts_with('>') { Align::Right } else { Align::Left });
        let cells = heading.iter().map(|h| (h.trim_start_matches('>').to_owned(), Paint::Bold));
        Self { align: align.collect(), rows: vec![cells.collect()], colour }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.painted(cells.into_iter().map(|cell| (cell, Paint::Plain)));
    }

    /// Adds a row with colours.
    pub fn painted(&mut self, cells: impl IntoIterator<Item = (String, Paint)>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there is only a heading.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    /// The text, a newline after each line.
    #[must_use]
    pub fn render(&self) -> String {
        let width = |column: usize| {
            self.rows.iter().filter_map(|r| r.get(column)).map(|(c, _)| c.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.align.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, colour)) in row.iter().enumerate() {
                if column > 0 {
                    line.push_str("  ");
                }
                let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                let cell = paint(cell, *colour, self.colour);
                match self.align[column] {
                    Align::Left => line += &(cell + &pad),
                    Align::Right => line += &(pad + &cell),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A whole number with separators: `50,000`.
#[must_use]
pub fn whole(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number to four significant digits, whole numbers exactly: `50,000`, `204.1`, `0.01234`.
#[must_use]
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() {
        return if value.is_nan() { "-".to_owned() } else { "never".to_owned() };
    }
    let sign = if value < 0.0 { "-" } else { "" };
    if magnitude < 1e15 && (libm::trunc(magnitude) - magnitude).abs() < f64::EPSILON {
        return format!("{sign}{}", whole(magnitude as u64));
    }
    if magnitude >= 1000.0 {
        return format!("{sign}{}", whole(libm::round(magnitude) as u64));
    }
    let decimals = if magnitude >= 100.0 {
        1
    } else if magnitude >= 10.0 {
        2
    } else if magnitude >= 1.0 {
        3
    } else {
        (3 - libm::floor(libm::log10(magnitude)) as i32).clamp(4, 12) as usize
    };
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds as a person reads them: `45.7ms`, `2m05s`.
#[must_use]
pub fn span_s(seconds: f64) -> String {
    if seconds.is_finite() && seconds >= 0.0 {
        format_short((seconds * 1e9) as Nanos)
    } else {
        "-".to_owned()
    }
}

/// A share as a percentage: `12.3 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", share * 100.0) } else { "never".to_owned() }
}

/// A relative difference with its sign: `+1.2 %`.
#[must_use]
pub fn signed_percent(share: f64) -> String {
    if share.is_finite() { format!("{:+.1} %", share * 100.0) } else { "never".to_owned() }
}

/// A metric's value, as its name says what it is: spans of time (`_s` at the end), shares, or numbers.
#[must_use]
pub fn metric(name: &str, value: f64) -> String {
    if (name.starts_with("latency.") || name.starts_with("client.")) && name.ends_with("_s") {
        span_s(value)
    } else if name.ends_with(".utilisation") || name.contains("share_within") {
        percent(value)
    } else {
        number(value)
    }
}

/// A line of blocks, one a value, the highest a full one.
#[must_use]
pub fn sparkline(values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let block = |value: &f64| match (value / most * 8.0) as usize {
        _ if *value <= 0.0 => ' ',
        level => BLOCKS[level.min(7)],
    };
    values.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_whole_ones_exact() {
        let cases = [
            (0.0, "0"),
            (50_000.0, "50,000"),
            (204.13, "204.1"),
            (48.996, "49"),
            (1.2345, "1.234"),
            (0.012_345, "0.01235"),
            (12_345.6, "12,346"),
            (-3.5, "-3.5"),
            (f64::INFINITY, "never"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(whole(1_234_567), "1,234,567");
        assert_eq!(whole(999), "999");
    }

    #[test]
    fn columns_align_and_lines_have_no_tail() {
        let mut grid = Grid::new(&["name", ">n", "note"], false);
        grid.row(["a".into(), "1,000".into(), String::new()]);
        grid.row(["long".into(), "1".into(), "x".into()]);
        assert_eq!(grid.render(), "name      n  note\na     1,000\nlong      1  x\n");
    }

    #[test]
    fn sparklines_scale_to_the_highest() {
        assert_eq!(sparkline(&[0.0, 0.1, 4.0, 8.0]), " ▁▅█");
        assert_eq!(sparkline(&[0.0, 0.0]), "  ");
    }
}
