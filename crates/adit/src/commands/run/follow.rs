//! Following a job to its end: the program's output, the result, the summary.

use std::path::Path;

use adit_api::client::Client;
use adit_api::types::{JobEventBody, JobState, JobView, LogStream, RangeQuery, ResultView, RunBody};
use adit_unixfs::block::{RAW, cid_v1};
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};

use super::summary;
use crate::commands::files;
use crate::commands::job::outcome;
use crate::context::Context;
use crate::exit::Failure;
use crate::output::escape::Escaper;
use crate::output::micros;

/// Runs a job and prints one JSON document at its end.
pub(crate) async fn reply(
    context: &Context,
    client: &Client,
    request: &RunBody,
    output: Option<&Path>,
) -> Result<u8, Failure> {
    let reply = client.run(request).await?;
    bring_home(client, &reply.job, output).await?;
    context.out.document(&reply)?;
    // The document says all there is to say about a program that failed, so no second one follows.
    Ok(outcome(&reply.job).unwrap_or_else(|failure| failure.exit.of_run()))
}

/// Runs a job and passes on what the program writes while it runs. Ctrl-C drops the stream of events, by which the
/// node knows to take the job back.
pub(crate) async fn follow(
    context: &Context,
    client: &Client,
    request: &RunBody,
    output: Option<&Path>,
) -> Result<u8, Failure> {
    let mut events = client.run_events(request).await?;
    let mut screen = Screen::new(context);
    let job = loop {
        match events.next().await? {
            Some(JobEventBody::State { state }) => screen.state(state),
            Some(JobEventBody::Attempt { attempt, .. }) => {
                screen.progress(format!("asking {}{}", attempt.node, cost(attempt.cost_us)));
            }
            Some(JobEventBody::Log { stream, content, .. }) => {
                screen.log(stream, &content.into_bytes().unwrap_or_default())?;
            }
            Some(JobEventBody::Skipped { stream, from, .. }) => screen.skipped(stream, from),
            Some(JobEventBody::Done { job }) => break job,
            Some(JobEventBody::Started { .. } | JobEventBody::Error { .. }) => {}
            None => {
                return Err(Failure::new(crate::exit::Exit::Failed, "the node ended the job's events early"));
            }
        }
    };
    screen.finish(client, &job).await?;
    bring_home(client, &job, output).await?;
    let exit = outcome(&job);
    if job.result.is_some() {
        context.out.note(summary::line(&job));
    }
    exit
}

fn cost(us: Option<u64>) -> String {
    us.map_or_else(String::new, |us| format!(", cost {}", micros(us)))
}

/// Unpacks `/out` of a program that ended by itself.
async fn bring_home(client: &Client, job: &JobView, output: Option<&Path>) -> Result<(), Failure> {
    if let (Some(output), Some(ResultView::Ok { root, .. })) = (output, &job.result) {
        files::unpack(client, root, output).await?;
    }
    Ok(())
}

/// What of a job's output has been shown, and the line of progress.
struct Screen<'a> {
    context: &'a Context,
    bar: Option<ProgressBar>,
    streams: [Shown; 2],
}

#[derive(Default)]
struct Shown {
    bytes: u64,
    /// The bytes themselves while they are few: their hash then tells that nothing is missing.
    few: Vec<u8>,
    escaper: Escaper,
    /// The connection was too slow from here on: the rest comes from the finished job's content.
    gap: Option<u64>,
}

/// Output up to this length is recognised by its hash, which saves asking for its content.
const FEW: usize = 64 << 10;

impl<'a> Screen<'a> {
    fn new(context: &'a Context) -> Self {
        let bar = context.out.shows_progress().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(ProgressStyle::default_spinner().tick_chars("⠁⠂⠄⡀⢀⠠⠐⠈ "));
            bar.enable_steady_tick(std::time::Duration::from_millis(100));
            bar
        });
        Screen { context, bar, streams: Default::default() }
    }

    fn progress(&self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        }
    }

    fn state(&mut self, state: JobState) {
        match state {
            JobState::Placing => self.progress("finding a node".to_owned()),
            JobState::Waiting => self.progress("waiting for a node that accepts".to_owned()),
            JobState::Queued => self.progress("waiting for a free slot".to_owned()),
            // From here on the program owns the screen.
            JobState::Running => self.clear(),
            _ => {}
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn log(&mut self, stream: LogStream, data: &[u8]) -> Result<(), Failure> {
        self.clear();
        let shown = &mut self.streams[stream as usize];
        if shown.gap.is_some() {
            return Ok(());
        }
        shown.bytes += data.len() as u64;
        if shown.bytes <= FEW as u64 {
            shown.few.extend_from_slice(data);
        }
        self.write(stream, data)
    }

    fn write(&mut self, stream: LogStream, data: &[u8]) -> Result<(), Failure> {
        let escaper = &mut self.streams[stream as usize].escaper;
        match stream {
            LogStream::Stdout => self.context.out.stdout_of_guest(escaper, data)?,
            LogStream::Stderr => self.context.out.stderr_of_guest(escaper, data),
        }
        Ok(())
    }

    fn skipped(&mut self, stream: LogStream, from: u64) {
        self.streams[stream as usize].gap.get_or_insert(from);
    }

    /// Shows what the events left out: what came too fast, or all of it when the job was remembered.
    async fn finish(&mut self, client: &Client, job: &JobView) -> Result<(), Failure> {
        self.clear();
        let (stdout, stderr) = match &job.result {
            Some(ResultView::Ok { stdout, stderr, .. }) => (Some(stdout), Some(stderr)),
            // A program that trapped may have said why.
            Some(ResultView::Error { stdout, stderr, .. }) => (stdout.as_ref(), stderr.as_ref()),
            None => (None, None),
        };
        self.complete(client, LogStream::Stdout, stdout).await?;
        self.complete(client, LogStream::Stderr, stderr).await?;
        let [stdout, stderr] = &mut self.streams;
        self.context.out.end_of_stderr(&mut stderr.escaper);
        Ok(self.context.out.end_of_stdout(&mut stdout.escaper)?)
    }

    async fn complete(
        &mut self,
        client: &Client,
        stream: LogStream,
        content: Option<&String>,
    ) -> Result<(), Failure> {
        let Some(content) = content else { return Ok(()) };
        let shown = &self.streams[stream as usize];
        let offset = shown.gap.unwrap_or(shown.bytes);
        let complete = offset == shown.few.len() as u64 && cid_v1(RAW, &shown.few).to_string() == *content;
        if complete || client.stat(content).await?.size <= offset {
            return Ok(());
        }
        let mut pieces = client.cat(content, &RangeQuery { offset: Some(offset), length: None }).await?;
        while let Some(piece) = pieces.next().await {
            self.write(stream, &piece.map_err(files::broke_off)?)?;
        }
        Ok(())
    }
}
