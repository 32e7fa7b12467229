//! Making other people's text harmless on a terminal.
//!
//! A terminal obeys what it is shown: escape sequences can move the cursor over what was printed before, change
//! the title, answer into the shell's input or write the clipboard. So of what a guest or a stranger wrote, only
//! printable text, line feeds and tabs reach a terminal as they are; every other control character, the
//! characters that reverse reading direction, and bytes that are not UTF-8 are shown as `\x1b`, `\u{202e}`.

use std::fmt::Write;

/// Escapes a stream that arrives in pieces; characters may be cut between them.
#[derive(Debug, Default)]
pub(crate) struct Escaper {
    /// The first bytes of a character whose end has not come yet; at most three.
    pending: Vec<u8>,
    /// A carriage return, which is harmless if a line feed follows.
    carriage_return: bool,
}

impl Escaper {
    /// The next piece, escaped.
    pub(crate) fn text(&mut self, data: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.pending);
        bytes.extend_from_slice(data);
        let mut out = String::with_capacity(bytes.len());
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.characters(text, &mut out);
                    break;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.characters(std::str::from_utf8(good).unwrap_or_default(), &mut out);
                    match error.error_len() {
                        // The piece ends inside a character: wait for the rest of it.
                        None => {
                            self.pending = bad.to_vec();
                            break;
                        }
                        Some(len) => {
                            self.flush_return(&mut out);
                            bad[..len].iter().for_each(|byte| hex(*byte, &mut out));
                            rest = &bad[len..];
                        }
                    }
                }
            }
        }
        out
    }

    /// What is left at the end of the stream: the beginning of a character that never ended.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        self.flush_return(&mut out);
        std::mem::take(&mut self.pending).iter().for_each(|byte| hex(*byte, &mut out));
        out
    }

    fn characters(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            if c == '\n' {
                self.carriage_return = false;
                out.push('\n');
                continue;
            }
            self.flush_return(out);
            match c {
                '\r' => self.carriage_return = true,
                '\t' => out.push('\t'),
                c if (c as u32) < 0x100 && c.is_control() => hex(c as u8, out),
                c if is_treacherous(c) => {
                    let _ = write!(out, "\\u{{{:x}}}", c as u32);
                }
                c => out.push(c),
            }
        }
    }

    /// A lone carriage return would overwrite the line, and with it what somebody else printed there.
    fn flush_return(&mut self, out: &mut String) {
        if std::mem::take(&mut self.carriage_return) {
            out.push_str("\\r");
        }
    }
}

/// A whole text on one line: like [`Escaper`], with line feeds and tabs escaped too. For tables and messages.
pub(crate) fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x100 && c.is_control() => hex(c as u8, &mut out),
            c if is_treacherous(c) => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

/// Characters that change how their neighbours are shown: line separators, direction marks and overrides,
/// invisible tags.
fn is_treacherous(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}'
        | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn hex(byte: u8, out: &mut String) {
    let _ = write!(out, "\\x{byte:02x}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(data: &[u8]) -> String {
        let mut escaper = Escaper::default();
        escaper.text(data) + &escaper.finish()
    }

    #[test]
    fn text_passes_and_control_is_shown() {
        assert_eq!(all("Grüße 水\t1\n".as_bytes()), "Grüße 水\t1\n");
        assert_eq!(all(b"\x1b]0;title\x07"), "\\x1b]0;title\\x07");
        assert_eq!(all(b"a\x08b\x7f\0"), "a\\x08b\\x7f\\x00");
        assert_eq!(all("\u{9b}2J".as_bytes()), "\\x9b2J", "the one-character form of ESC [");
        assert_eq!(all(b"\x9b2J"), "\\x9b2J", "and its raw byte");
        assert_eq!(all("\u{202e}txt.exe".as_bytes()), "\\u{202e}txt.exe");
    }

    #[test]
    fn only_a_carriage_return_before_a_line_feed_is_swallowed() {
        assert_eq!(all(b"a\r\nb"), "a\nb");
        assert_eq!(all(b"overwrite\rme"), "overwrite\\rme");
        assert_eq!(all(b"\r\r\n"), "\\r\n");
        assert_eq!(all(b"\r\xff"), "\\r\\xff");
        assert_eq!(all(b"end\r"), "end\\r");
    }

    #[test]
    fn characters_cut_between_pieces_are_whole_again_and_the_cut_never_matters() {
        let text = "a€\u{1b}[1m😀\r\nz\u{202e}".as_bytes();
        let whole = all(text);
        for cut in 0..=text.len() {
            let mut escaper = Escaper::default();
            let pieces = escaper.text(&text[..cut]) + &escaper.text(&text[cut..]) + &escaper.finish();
            assert_eq!(pieces, whole, "cut at {cut}");
        }
        assert_eq!(all(b"\xe2\x82"), "\\xe2\\x82");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_survives() {
        let every: Vec<u8> = (0..=255u8).chain(0..=255).collect();
        for text in [all(&every), one_line(&String::from_utf8_lossy(&every))] {
            assert!(text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()), "{text}");
        }
        assert!(!one_line("a\nb\tc").contains(['\n', '\t']));
    }
}
