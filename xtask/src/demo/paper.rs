//! Plain text with a little colour, where colour is wanted.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

/// Columns of everything that is printed.
pub const WIDTH: usize = 104;

/// What is printed, so far.
pub struct Paper {
    colour: bool,
    text: String,
}

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// As it is.
    Plain,
    /// Headlines.
    Bold,
    /// What may be passed over.
    Dim,
    /// Failures.
    Red,
    /// What is as it should be.
    Green,
    /// What stands out.
    Yellow,
}

// === impl Paper ===

impl Paper {
    /// Colour only on a terminal that has it, and never against the user's will (<https://no-color.org>).
    pub fn for_stdout() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        Self { colour: std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && !dumb, text: String::new() }
    }

    /// Without colour.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { colour: false, text: String::new() }
    }

    /// What was written since the last call.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// An empty line, a headline, and a note on its right.
    pub fn title(&mut self, title: &str, note: &str) {
        let gap = WIDTH.saturating_sub(title.chars().count() + note.chars().count()).max(2);
        let (title, note) = (self.ink(Ink::Bold, title), self.ink(Ink::Dim, note));
        self.line(&format!("\n{title}{}{note}", " ".repeat(gap)));
    }

    /// A line.
    pub fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{}", line.trim_end());
    }

    /// A line that may be passed over.
    pub fn note(&mut self, line: &str) {
        let line = self.ink(Ink::Dim, line);
        self.line(&line);
    }

    /// The text as it is to be written.
    pub fn ink(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Plain => return text.to_owned(),
            Ink::Bold => 1,
            Ink::Dim => 2,
            Ink::Red => 31,
            Ink::Green => 32,
            Ink::Yellow => 33,
        };
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// At most `width` characters; what is cut off is marked.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let separator = |n: usize| if n > 0 && (digits.len() - n).is_multiple_of(3) { "," } else { "" };
    digits.chars().enumerate().map(|(n, digit)| format!("{}{digit}", separator(n))).collect()
}

/// Milliseconds with one decimal.
pub fn milliseconds(duration: std::time::Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
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
        assert_eq!((cut("abc", 3).as_str(), cut("abcd", 3).as_str()), ("abc", "ab…"));
    }

    #[test]
    fn without_colour_there_is_no_escape() {
        let mut paper = Paper::plain();
        paper.title("title", "note");
        let red = paper.ink(Ink::Red, "red");
        paper.line(&red);
        let text = paper.take();
        assert!(!text.contains('\x1b'));
        assert_eq!(text.lines().map(|line| line.chars().count()).max(), Some(WIDTH));
        let coloured = Paper { colour: true, text: String::new() };
        assert_eq!(coloured.ink(Ink::Red, "red"), "\x1b[31mred\x1b[0m");
        assert_eq!(coloured.ink(Ink::Red, ""), "");
    }
}
