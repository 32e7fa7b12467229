//! `adit job`: jobs, what became of them, what they printed.

use std::io::Write as _;

use adit_api::client::Client;
use adit_api::types::{
    Attempt, AttemptResult, JobEventBody, JobId, JobState, JobView, JobsQuery, LogStream, RangeQuery,
    ResultView,
};
use adit_node::config::Span;
use futures::StreamExt;

use super::files::broke_off;
use crate::context::Context;
use crate::exit::{Exit, Failure, OutputError};
use crate::output::escape::{Escaper, one_line};
use crate::output::{Output, Table, bytes, count, micros, time};

/// Subcommands of `adit job`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Job {
    /// List jobs, newest first
    Ls {
        /// Only jobs that have not ended
        #[arg(long)]
        active: bool,
        /// At most this many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show a job: where it ran, why there, whom else was asked and what they said
    Show {
        /// The job's id
        job: JobId,
    },
    /// Print what the program wrote; control characters are shown, not obeyed
    Logs {
        /// The job's id
        job: JobId,
        /// Go on until the job ends
        #[arg(long, short)]
        follow: bool,
        /// The bytes as the program wrote them; stdout only
        #[arg(long)]
        raw: bool,
    },
    /// Wait until a job ends, and end with its exit code
    Wait {
        /// The job's id
        job: JobId,
        /// For how long
        #[arg(long, default_value = "1h")]
        timeout: Span,
    },
    /// Print the CID of the job's /out
    Result {
        /// The job's id
        job: JobId,
    },
    /// Take a job back
    Cancel {
        /// The job's id
        job: JobId,
    },
}

/// Looks after jobs.
pub(crate) async fn job(context: &Context, command: Job) -> Result<u8, Failure> {
    let client = context.client()?;
    let out = &context.out;
    match command {
        Job::Ls { active, limit } => {
            list(out, client.jobs(&JobsQuery { limit: Some(limit), active }).await?)?;
        }
        Job::Show { job } => out.either(&client.job(&job).await?, show)?,
        Job::Logs { job, follow, raw } => logs(context, &client, job, follow, raw).await?,
        Job::Wait { job, timeout } => {
            let job = client.job_wait(&job, Some(timeout.0)).await?;
            out.either(&job, |out, job| out.line(state(job)))?;
            return outcome(&job);
        }
        Job::Result { job } => {
            let job = client.job(&job).await?;
            outcome(&job)?;
            match &job.result {
                Some(ResultView::Ok { root, .. }) => {
                    out.either(root, |out, root| out.line(one_line(root)))?
                }
                _ => return Err(Failure::new(Exit::NotFound, "the job has no result")),
            }
        }
        Job::Cancel { job } => {
            let job = client.job_cancel(&job).await?;
            out.either(&job, |out, job| out.line(state(job)))?;
        }
    }
    Ok(0)
}

/// The exit code of a job's program, or why there is none.
pub(crate) fn outcome(job: &JobView) -> Result<u8, Failure> {
    let failed = |exit, message: String| {
        Err(Failure::new(exit, message).hint(format!("`adit job show {}` tells more", job.id)))
    };
    match (&job.result, &job.failure) {
        (Some(ResultView::Ok { exit, .. }), _) => Ok(*exit),
        (Some(ResultView::Error { error, detail, .. }), _) => {
            failed(Exit::Failed, format!("the program failed ({error}): {detail}"))
        }
        (None, Some(failure)) => {
            let forged = |attempt: &Attempt| attempt.result == AttemptResult::Forged;
            let exit = match job.state {
                JobState::Expired => Exit::Timeout,
                JobState::Cancelled => Exit::Interrupted,
                _ if job.attempts.last().is_some_and(forged) => Exit::TrustRefused,
                _ => Exit::Failed,
            };
            let fault = format!("{:?}", failure.fault).to_lowercase();
            failed(exit, format!("the job failed (fault: {fault}): {}", failure.reason))
        }
        (None, None) => match job.state {
            JobState::Expired => failed(Exit::Timeout, "the job's time ran out".to_owned()),
            JobState::Cancelled => failed(Exit::Interrupted, "the job was cancelled".to_owned()),
            JobState::Lost => failed(Exit::Failed, "the node stopped while the job ran".to_owned()),
            state if !state.is_final() => failed(Exit::NotFound, "the job has not ended yet".to_owned()),
            _ => failed(Exit::Failed, "the job ended without a result".to_owned()),
        },
    }
}

/// A job's state in a few words.
fn state(job: &JobView) -> String {
    match &job.result {
        Some(ResultView::Ok { exit, .. }) => format!("exit {exit}"),
        Some(ResultView::Error { error, .. }) => one_line(error),
        None => format!("{:?}", job.state).to_lowercase(),
    }
}

fn list(out: &Output, jobs: Vec<JobView>) -> Result<(), OutputError> {
    if out.json() {
        return out.document(&jobs);
    }
    let mut table = Table::new(["job", "state", "role", "started", "took", "host"], "No jobs.");
    for job in jobs {
        let took = if job.state.is_final() { micros(job.stats.total_us) } else { "-".to_owned() };
        table.row([
            job.id.to_string(),
            state(&job),
            format!("{:?}", job.role).to_lowercase(),
            time(job.created_ms / 1000),
            took,
            job.host.map_or_else(|| "-".to_owned(), |host| host.to_string()),
        ]);
    }
    table.print(out)
}

fn show(out: &Output, job: &JobView) -> Result<(), OutputError> {
    out.line(format!("job       {}", job.id))?;
    out.line(format!("state     {}", state(job)))?;
    out.line(format!("task      {}", job.task))?;
    let args: Vec<String> = job.args.iter().map(|arg| one_line(arg)).collect();
    out.line(format!("code      {} {}", one_line(&job.code), args.join(" ")))?;
    for (path, content) in &job.inputs {
        out.line(format!("input     {} = {}", one_line(path), one_line(content)))?;
    }
    out.line(format!("asked by  {} at {}", job.issuer, time(job.created_ms / 1000)))?;
    if let Some(host) = &job.host {
        out.line(format!("host      {host}"))?;
    }
    if let Some(why) = &job.why {
        out.line(format!("why       {}", one_line(why)))?;
    }
    match &job.result {
        Some(ResultView::Ok { root, exit, stdout, stderr }) => {
            out.line(format!("exit      {exit}"))?;
            out.line(format!("result    {}", one_line(root)))?;
            out.line(format!("stdout    {}", one_line(stdout)))?;
            out.line(format!("stderr    {}", one_line(stderr)))?;
        }
        Some(ResultView::Error { error, detail, .. }) => {
            out.line(format!("error     {}: {}", one_line(error), one_line(detail)))?;
        }
        None => {}
    }
    if let Some(failure) = &job.failure {
        let fault = format!("{:?}", failure.fault).to_lowercase();
        out.line(format!("failure   {} (fault: {fault})", one_line(&failure.reason)))?;
    }
    if let Some(receipt) = &job.receipt {
        out.line(format!("receipt   {}", one_line(receipt)))?;
    }
    let stats = &job.stats;
    out.line(format!(
        "figures   {} in all, {} compiling, {} running, fuel {}, read {}, moved {}{}",
        micros(stats.total_us),
        micros(stats.compile_us),
        micros(stats.run_us),
        count(stats.fuel),
        bytes(stats.bytes_read),
        bytes(stats.bytes_moved),
        if stats.remembered { ", remembered" } else { "" }
    ))?;
    if let Some(kept) = job.kept_until {
        out.line(format!("kept      until {}", time(kept)))?;
    }
    if job.attempts.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new(["candidate", "cost", "answer", "reason"], "");
    for attempt in &job.attempts {
        table.row([
            attempt.node.to_string(),
            attempt.cost_us.map_or_else(|| "-".to_owned(), micros),
            format!("{:?}", attempt.result).to_lowercase(),
            attempt.reason.clone().unwrap_or_default(),
        ]);
    }
    table.print(out)
}

/// Prints what the job wrote so far, or until it ends. The event stream begins with the past, so "so far" ends with
/// the first event that is not of it; a finished job's stream ends by itself.
async fn logs(
    context: &Context,
    client: &Client,
    job: JobId,
    follow: bool,
    raw: bool,
) -> Result<(), Failure> {
    let finished = client.job(&job).await?.state.is_final();
    let mut events = client.job_events(&job).await?;
    let mut printer = Printer { out: &context.out, raw, streams: Default::default() };
    loop {
        let next = events.next();
        let event = if follow || finished {
            next.await?
        } else {
            // What has been written already comes at once.
            match tokio::time::timeout(std::time::Duration::from_millis(300), next).await {
                Ok(event) => event?,
                Err(_) => None,
            }
        };
        match event {
            None => return printer.end(),
            Some(event) if context.out.json() => {
                context.out.line(json_line(&event)?)?;
                if matches!(event, JobEventBody::Done { .. }) {
                    return Ok(());
                }
            }
            Some(JobEventBody::Log { stream, content, .. }) => {
                printer.print(stream, &content.into_bytes().unwrap_or_default())?;
            }
            Some(JobEventBody::Skipped { stream, from, .. }) => {
                printer.streams[stream as usize].gap.get_or_insert(from);
            }
            Some(JobEventBody::Done { job }) => {
                printer.complete(client, &job).await?;
                return printer.end();
            }
            Some(_) => {}
        }
    }
}

/// What a job's two streams have shown so far.
struct Printer<'a> {
    out: &'a Output,
    raw: bool,
    streams: [Printed; 2],
}

#[derive(Default)]
struct Printed {
    bytes: u64,
    escaper: Escaper,
    /// Events left bytes out from here on; the rest comes from the finished job's content.
    gap: Option<u64>,
}

impl Printer<'_> {
    fn print(&mut self, stream: LogStream, data: &[u8]) -> Result<(), Failure> {
        let printed = &mut self.streams[stream as usize];
        if printed.gap.is_some() {
            return Ok(());
        }
        printed.bytes += data.len() as u64;
        self.write(stream, data)
    }

    fn write(&mut self, stream: LogStream, data: &[u8]) -> Result<(), Failure> {
        let escaper = &mut self.streams[stream as usize].escaper;
        match (stream, self.raw) {
            (LogStream::Stdout, true) => self.out.raw(data)?,
            (LogStream::Stderr, true) => {}
            (LogStream::Stdout, false) => self.out.raw(escaper.text(data).as_bytes())?,
            (LogStream::Stderr, false) => {
                let _ = std::io::stderr().write_all(escaper.text(data).as_bytes());
            }
        }
        Ok(())
    }

    /// Prints what no event carried: what came too fast, or all of it when the job was remembered or is long ended.
    async fn complete(&mut self, client: &Client, job: &JobView) -> Result<(), Failure> {
        let (stdout, stderr) = match &job.result {
            Some(ResultView::Ok { stdout, stderr, .. }) => (Some(stdout), Some(stderr)),
            Some(ResultView::Error { stdout, stderr, .. }) => (stdout.as_ref(), stderr.as_ref()),
            None => (None, None),
        };
        for (stream, content) in [(LogStream::Stdout, stdout), (LogStream::Stderr, stderr)] {
            let Some(content) = content else { continue };
            let printed = &self.streams[stream as usize];
            let offset = printed.gap.unwrap_or(printed.bytes);
            if client.stat(content).await?.size <= offset {
                continue;
            }
            let mut pieces = client.cat(content, &RangeQuery { offset: Some(offset), length: None }).await?;
            while let Some(piece) = pieces.next().await {
                self.write(stream, &piece.map_err(broke_off)?)?;
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Failure> {
        let [stdout, stderr] = &mut self.streams;
        self.out.end_of_stderr(&mut stderr.escaper);
        Ok(self.out.end_of_stdout(&mut stdout.escaper)?)
    }
}

fn json_line(event: &JobEventBody) -> Result<String, Failure> {
    serde_json::to_string(event).map_err(|error| Failure::because(Exit::Failed, "cannot write JSON", &error))
}
