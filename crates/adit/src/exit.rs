//! How a command ends: exit codes that scripts may rely on, and errors that say what failed, why, and what to
//! do next.

use std::fmt;

/// Exit codes. They are part of the interface: never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something failed for which there is no code of its own.
    Failed = 1,
    /// The command line, a file or a value cannot be understood.
    Usage = 2,
    /// What was asked for does not exist.
    NotFound = 3,
    /// No daemon answers.
    NoDaemon = 4,
    /// A signature, receipt or other proof does not hold, or a token does not allow this.
    TrustRefused = 5,
    /// The time ran out (as `timeout(1)` has it).
    Timeout = 124,
    /// Stopped by ctrl-C (128 + SIGINT, as shells have it).
    Interrupted = 130,
    /// Whoever read our output went away (128 + SIGPIPE); nothing is said about it.
    BrokenPipe = 141,
}

impl Exit {
    /// The code that `adit run` ends with when it is Adit that failed and not the program: moved up by 100, out of
    /// the way of the program's own.
    pub(crate) fn of_run(self) -> u8 {
        self as u8 + 100
    }
}

/// A command that did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Which exit code.
    pub exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with a message that says what failed and why.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure { exit, message: message.into(), hint: None }
    }

    /// A failure caused by `error`; its whole chain of causes becomes part of the message.
    pub(crate) fn because(
        exit: Exit,
        what: impl fmt::Display,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        Failure::new(exit, format!("{what}: {}", chain(error)))
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What failed and why.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// An error and its causes in one line, without repeating what a cause already said.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Writing to stdout is the only I/O whose errors convert by themselves: everywhere else, a message must say
/// what was being done.
#[derive(Debug)]
pub(crate) struct OutputError(pub std::io::Error);

impl From<OutputError> for Failure {
    fn from(OutputError(error): OutputError) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::new(Exit::BrokenPipe, "");
        }
        Failure::because(Exit::Failed, "cannot write to standard output", &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_run_are_out_of_the_way_and_fit() {
        assert_eq!(Exit::NotFound.of_run(), 103);
        assert_eq!(Exit::Timeout.of_run(), 224);
        assert_eq!(Exit::BrokenPipe.of_run(), 241);
    }
}
