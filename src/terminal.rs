//! Text for an administrator's terminal: at most 80 columns, and nothing in it that moves the cursor.

/// A line broken at spaces to 80 columns, except for words that are longer; what follows a break is indented. Control
/// characters, which a peer or a file may hold, become question marks.
pub fn wrapped(line: &str, indent: &str) -> String {
    let line: String = line.chars().map(|it| if it.is_control() { '?' } else { it }).collect();
    let options = textwrap::Options::new(80)
        .subsequent_indent(indent)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(&line, options)
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_break_at_spaces_and_hold_no_control_characters() {
        let text = wrapped(&format!("1. {} {}\u{1b}[2J end", "word ".repeat(20), "x".repeat(90)), "   ");
        assert!(text.lines().all(|line| line.chars().count() <= 80 || !line.trim().contains(' ')), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("   ")), "{text}");
        assert!(text.contains("?[2J"), "{text}");
    }
}
