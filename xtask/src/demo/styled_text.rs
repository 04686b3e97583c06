//! Text for the terminal, with colours where the terminal supports them.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

/// Width of the output in columns.
pub(crate) const WIDTH: usize = 100;

/// The text that was written so far.
pub(crate) struct StyledText {
    colour: bool,
    text: String,
}

/// The style of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Headlines.
    Bold,
    /// Details.
    Dim,
    /// Failures.
    Red,
    /// Successes.
    Green,
}

// === impl StyledText ===

impl StyledText {
    /// With colour if the standard output is a terminal that supports it and `NO_COLOR` is not set (<https://no-color.org>).
    pub(crate) fn for_stdout() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        Self { colour: std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && !dumb, text: String::new() }
    }

    /// Text without colour.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { colour: false, text: String::new() }
    }

    /// Returns and removes what was written.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// Writes an empty line and a heading, with a note on its right.
    pub(crate) fn title(&mut self, title: &str, note: &str) {
        let gap = WIDTH.saturating_sub(title.chars().count() + note.chars().count()).max(2);
        let (title, note) = (self.styled(Style::Bold, title), self.styled(Style::Dim, note));
        self.line(&format!("\n{title}{}{note}", " ".repeat(gap)));
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{}", line.trim_end());
    }

    /// Writes a dimmed line.
    pub(crate) fn dim_line(&mut self, line: &str) {
        let line = self.styled(Style::Dim, line);
        self.line(&line);
    }

    /// The text with the escape sequences of the style.
    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
        };
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// At most `width` characters. If text was removed, `…` is the last one.
pub(crate) fn truncate(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let separator = |n: usize| if n > 0 && (digits.len() - n).is_multiple_of(3) { "," } else { "" };
    digits.chars().enumerate().map(|(n, digit)| format!("{}{digit}", separator(n))).collect()
}

/// Milliseconds with one decimal.
pub(crate) fn milliseconds(duration: std::time::Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// A part of a whole in percent, with at most one decimal.
pub(crate) fn percent(part: f64, whole: f64) -> String {
    let share = if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
    match (share.round() - share).abs() > 0.05 {
        true => format!("{share:.1} %"),
        false => format!("{share:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lines_read_well() {
        let table = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (100_000, "100,000")];
        for (number, expected) in table {
            assert_eq!(thousands(number), expected);
        }
        assert_eq!((truncate("abc", 3).as_str(), truncate("abcd", 3).as_str()), ("abc", "ab…"));
    }

    #[test]
    fn shares_have_a_decimal_only_where_it_says_something() {
        let table = [
            (0.0, 10.0, "0 %"),
            (10.0, 10.0, "100 %"),
            (1.0, 40.0, "2.5 %"),
            (1.0, 0.0, "0 %"),
            (5.0, 100.0, "5 %"),
            (999.0, 1000.0, "99.9 %"),
        ];
        for (part, whole, expected) in table {
            assert_eq!(percent(part, whole), expected);
        }
    }

    #[test]
    fn without_colour_there_is_no_escape() {
        let mut out = StyledText::plain();
        out.title("title", "note");
        let red = out.styled(Style::Red, "red");
        out.line(&red);
        let text = out.take();
        assert!(!text.contains('\x1b'));
        assert_eq!(text.lines().map(|line| line.chars().count()).max(), Some(WIDTH));
        let coloured = StyledText { colour: true, text: String::new() };
        assert_eq!(coloured.styled(Style::Red, "red"), "\x1b[31mred\x1b[0m");
        assert_eq!(coloured.styled(Style::Red, ""), "");
    }
}
