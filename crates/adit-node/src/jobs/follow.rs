//! A job's story from its beginning to its end, for whoever asks and whenever they ask.

use std::sync::Arc;

use futures::stream::{self, Stream};

use super::log_buffer::Next;
use super::record::{Now, Record};
use crate::view::{Attempt, JobEvent, JobState, LogStream};

/// How far a follower has come.
struct Cursor {
    record: Arc<Record>,
    state: Option<JobState>,
    attempts: Vec<Attempt>,
    logs: [u64; 2],
    done: bool,
}

/// Everything that has happened to the job and will happen, ending with [`JobEvent::Done`]. A slow
/// follower holds nobody up: states and attempts are the newest ones, and gaps in the logs are told.
pub(crate) fn follow(record: Arc<Record>) -> impl Stream<Item = JobEvent> + Send + 'static {
    let cursor = Cursor { record, state: None, attempts: Vec::new(), logs: [0; 2], done: false };
    stream::unfold(cursor, |mut cursor| async move {
        if cursor.done {
            return None;
        }
        let record = Arc::clone(&cursor.record);
        let event = record.wait_until(|now| cursor.next(now)).await;
        let event = event.unwrap_or_else(|| {
            cursor.done = true;
            JobEvent::Done(Box::new(cursor.record.view()))
        });
        Some((event, cursor))
    })
}

impl Cursor {
    /// The next thing to tell, `Some(None)` at the end, `None` when nothing has changed.
    fn next(&mut self, now: &mut Now) -> Option<Option<JobEvent>> {
        let changed = (0..now.attempts.len()).find(|&i| self.attempts.get(i) != now.attempts.get(i));
        if let Some(index) = changed {
            let attempt = now.attempts[index].clone();
            self.attempts.truncate(index);
            self.attempts.extend(now.attempts[index..=index].iter().cloned());
            // Later lines are compared again, and told again only if they differ from what they were.
            return Some(Some(JobEvent::Attempt(index, attempt)));
        }
        let ended = now.state.is_some_and(JobState::is_final);
        if now.state != self.state && !ended {
            self.state = now.state;
            return Some(now.state.map(JobEvent::State));
        }
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let at = &mut self.logs[stream as usize];
            match now.logs[stream as usize].after(*at) {
                Next::Nothing => {}
                Next::Bytes(bytes) => {
                    let offset = *at;
                    *at += bytes.len() as u64;
                    return Some(Some(JobEvent::Log { stream, offset, bytes }));
                }
                Next::SkipTo(to) => {
                    let from = std::mem::replace(at, to);
                    return Some(Some(JobEvent::Skipped { stream, from, to }));
                }
            }
        }
        ended.then_some(None)
    }
}

#[cfg(test)]
mod tests {
    use adit_model::{AccountId, InvocationCid};
    use bytes::Bytes;
    use futures::StreamExt as _;

    use super::*;
    use crate::jobs::tests::task;
    use crate::view::{Failure, Fault, Role};

    #[tokio::test]
    async fn followers_early_and_late_hear_the_same_story() {
        let (task, cid) = task();
        let record = Record::new(InvocationCid::of_block(b"1"), Role::Local, task, cid, AccountId([1; 20]));
        let early = tokio::spawn(follow(Arc::clone(&record)).collect::<Vec<_>>());
        tokio::task::yield_now().await;
        record.set_state(JobState::Running);
        record.log(LogStream::Stdout, Bytes::from_static(b"one "));
        record.log(LogStream::Stdout, Bytes::from_static(b"two"));
        record.log(LogStream::Stderr, Bytes::from_static(b"oops"));
        record.fail(JobState::Failed, Failure::new(Fault::Host, "gone"));
        record.set_state(JobState::Running);
        let late: Vec<_> = follow(record).collect().await;
        let early = early.await.unwrap();
        for story in [early, late] {
            let text: Vec<u8> = story
                .iter()
                .filter_map(|e| match e {
                    JobEvent::Log { stream: LogStream::Stdout, bytes, .. } => Some(bytes.to_vec()),
                    _ => None,
                })
                .flatten()
                .collect();
            assert_eq!(text, b"one two");
            let Some(JobEvent::Done(view)) = story.last() else { panic!("{story:?}") };
            assert_eq!(view.state, JobState::Failed, "an ended job stays ended");
        }
    }
}
