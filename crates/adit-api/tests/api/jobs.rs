//! Running programs, following them, and what becomes of a job whose client goes away.

use crate::stand_in::{OUTPUT, job_id, serve, within};
use adit_api::Code;
use adit_api::types::*;
use std::time::Duration;

fn short() -> RunBody {
    RunBody::new("bafkqaaa".parse().unwrap())
}

fn hanging() -> RunBody {
    RunBody { args: vec!["hang".into()], ..short() }
}

#[tokio::test]
async fn a_run_answers_with_output_and_receipt() {
    let served = serve().await;
    let reply = served.client().run(&short()).await.unwrap();
    assert_eq!(reply.job.state, JobState::Finished);
    assert_eq!(reply.stdout.unwrap().into_bytes().unwrap(), OUTPUT);
    assert!(!reply.receipt.is_empty() && !reply.outcome.is_empty());
}

#[tokio::test]
async fn events_come_as_they_happen_and_end_with_the_job() {
    let served = serve().await;
    let mut events = served.client().run_events(&short()).await.unwrap();
    let mut got = Vec::new();
    while let Some(event) = within(events.next()).await.unwrap() {
        got.push(event);
    }
    assert_eq!(got[0], JobEventBody::Started { job: job_id("short") });
    assert!(
        matches!(&got[2], JobEventBody::Log { content, .. } if content.clone().into_bytes().unwrap() == OUTPUT)
    );
    assert!(matches!(got.last(), Some(JobEventBody::Done { .. })));
    assert_eq!(got.len(), 4);

    // The first events of a job that goes on come at once.
    let mut events = served.client().job_events(&job_id("long")).await.unwrap();
    assert_eq!(within(events.next()).await.unwrap(), Some(JobEventBody::State { state: JobState::Running }));
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_job_back() {
    let mut served = serve().await;
    // While it waits for the answer.
    let client = served.client();
    let waiting = tokio::spawn(async move { client.run(&hanging()).await });
    within(served.begun.wait_for(|count| *count == 1)).await.unwrap();
    waiting.abort();
    within(served.cancelled.wait_for(|count| *count == 1)).await.unwrap();

    // While it follows the events.
    let mut events = served.client().run_events(&hanging()).await.unwrap();
    within(events.next()).await.unwrap();
    drop(events);
    within(served.cancelled.wait_for(|count| *count == 2)).await.unwrap();
}

#[tokio::test]
async fn a_job_with_a_key_or_a_mere_watcher_outlives_its_client() {
    let served = serve().await;
    let body = RunBody { idempotency_key: Some("once".into()), ..hanging() };
    let mut events = served.client().run_events(&body).await.unwrap();
    within(events.next()).await.unwrap();
    drop(events);
    let mut events = served.client().job_events(&job_id("long")).await.unwrap();
    within(events.next()).await.unwrap();
    drop(events);
    // Something that did cancel would have counted by the time that another owner's end has.
    let mut cancelled = served.cancelled.clone();
    let mut events = served.client().run_events(&hanging()).await.unwrap();
    within(events.next()).await.unwrap();
    drop(events);
    within(cancelled.wait_for(|count| *count > 0)).await.unwrap();
    assert_eq!(*cancelled.borrow(), 1);
}

#[tokio::test]
async fn jobs_are_listed_shown_waited_for_and_cancelled() {
    let served = serve().await;
    let client = served.client();
    let job = client.start(&hanging()).await.unwrap();
    assert_eq!(job, job_id("long"));
    assert_eq!(client.jobs(&JobsQuery::default()).await.unwrap().len(), 2);
    assert_eq!(client.jobs(&JobsQuery { limit: Some(1), active: true }).await.unwrap()[0].id, job);
    assert_eq!(client.job(&job).await.unwrap().state, JobState::Running);
    let impatient = client.job_wait(&job, Some(Duration::from_millis(20))).await.unwrap_err();
    assert_eq!(impatient.api().unwrap().code, Code::Timeout);
    assert_eq!(client.job_cancel(&job).await.unwrap().state, JobState::Cancelled);
    assert_eq!(client.job_wait(&job_id("short"), None).await.unwrap().state, JobState::Finished);
    assert!(client.job_result(&job_id("short")).await.is_ok());
    assert_eq!(client.job(&job_id("none")).await.unwrap_err().api().unwrap().code, Code::NotFound);
    assert!(!client.plan(&short()).await.unwrap().why.is_empty());
}

#[test]
fn a_run_body_says_only_what_differs_from_the_defaults() {
    let code = "bafkqaaa";
    let body: RunBody = serde_json::from_str(&format!("{{\"code\":\"{code}\"}}")).unwrap();
    assert_eq!(body, short());
    assert_eq!(serde_json::to_string(&body).unwrap(), format!("{{\"code\":\"{code}\"}}"));
    let full = RunBody {
        inputs: [("/in/a".to_owned(), CidText(code.parse().unwrap()))].into(),
        place: "12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf".parse().unwrap(),
        timeout_ms: Some(5),
        wait: true,
        ..short()
    };
    let text = serde_json::to_string(&full).unwrap();
    assert_eq!(serde_json::from_str::<RunBody>(&text).unwrap(), full);
}
