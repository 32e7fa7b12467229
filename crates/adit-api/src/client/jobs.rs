//! Running programs and asking what became of them.

use super::{Client, ClientError, JSON, empty, full, query};
use crate::sse::Decoder;
use crate::types::{JobEventBody, JobId, JobView, JobsQuery, Plan, ReceiptView, RunBody, RunReply, Started};
use adit_model::EnvelopeCid;
use axum::http::header::ACCEPT;
use axum::http::{HeaderName, Method};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;

const EVENTS: (HeaderName, &str) = (ACCEPT, "text/event-stream");

impl Client {
    /// Runs a program and waits for its end.
    pub async fn run(&self, body: &RunBody) -> Result<RunReply, ClientError> {
        self.exchange(Method::POST, "/api/v1/run", body).await
    }

    /// Runs a program and gives its events as they happen. Dropping them takes the job back, unless it has an
    /// idempotency key.
    pub async fn run_events(&self, body: &RunBody) -> Result<Events, ClientError> {
        let body = full(serde_json::to_vec(body)?);
        let response = self.send(Method::POST, "/api/v1/run", &[JSON, EVENTS], body).await?;
        Ok(Events::new(response.into_body()))
    }

    /// Starts a program and leaves it to itself.
    pub async fn start(&self, body: &RunBody) -> Result<JobId, ClientError> {
        let started: Started = self.exchange(Method::POST, "/api/v1/jobs", body).await?;
        Ok(started.job)
    }

    /// Where the program would run.
    pub async fn plan(&self, body: &RunBody) -> Result<Plan, ClientError> {
        self.exchange(Method::POST, "/api/v1/run/plan", body).await
    }

    /// Jobs, newest first.
    pub async fn jobs(&self, which: &JobsQuery) -> Result<Vec<JobView>, ClientError> {
        let active = which.active.then(|| "true".to_owned());
        let query = query(&[("limit", which.limit.map(|limit| limit.to_string())), ("active", active)]);
        self.fetch(Method::GET, &format!("/api/v1/jobs{query}")).await
    }

    /// One job.
    pub async fn job(&self, job: &JobId) -> Result<JobView, ClientError> {
        self.fetch(Method::GET, &format!("/api/v1/jobs/{job}")).await
    }

    /// What happens to a job, from its beginning to its end.
    pub async fn job_events(&self, job: &JobId) -> Result<Events, ClientError> {
        let path = format!("/api/v1/jobs/{job}/logs");
        Ok(Events::new(self.send(Method::GET, &path, &[EVENTS], empty()).await?.into_body()))
    }

    /// Waits for the end of a job; with a timeout, an error of code `timeout` says that it goes on.
    pub async fn job_wait(&self, job: &JobId, timeout: Option<Duration>) -> Result<JobView, ClientError> {
        let query = query(&[("timeout_ms", timeout.map(|timeout| timeout.as_millis().to_string()))]);
        self.fetch(Method::GET, &format!("/api/v1/jobs/{job}/wait{query}")).await
    }

    /// What a finished job delivered.
    pub async fn job_result(&self, job: &JobId) -> Result<RunReply, ClientError> {
        self.fetch(Method::GET, &format!("/api/v1/jobs/{job}/result")).await
    }

    /// Takes a job back.
    pub async fn job_cancel(&self, job: &JobId) -> Result<JobView, ClientError> {
        self.fetch(Method::POST, &format!("/api/v1/jobs/{job}/cancel")).await
    }

    /// A receipt, as the node reads and checks it.
    pub async fn receipt(&self, cid: &EnvelopeCid) -> Result<ReceiptView, ClientError> {
        self.fetch(Method::GET, &format!("/api/v1/receipts/{cid}")).await
    }

    /// A receipt's block, for checking it oneself.
    pub async fn receipt_block(&self, cid: &EnvelopeCid) -> Result<Bytes, ClientError> {
        self.block(&cid.to_cid()).await
    }
}

/// The events of a job.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    decoder: Decoder,
    ended: bool,
}

impl Events {
    fn new(body: Incoming) -> Self {
        Self { body, decoder: Decoder::default(), ended: false }
    }

    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<JobEventBody>, ClientError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            if let Some(event) = self.decoder.next_event()? {
                self.ended = matches!(event, JobEventBody::Done { .. } | JobEventBody::Error { .. });
                if let JobEventBody::Error { error } = event {
                    return Err(ClientError::Api(Box::new(error)));
                }
                return Ok(Some(event));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.decoder.feed(data);
                    }
                }
                Some(Err(error)) => return Err(ClientError::Broken(error.into())),
                None => return Err(ClientError::Protocol("the events end before the job does".to_owned())),
            }
        }
    }
}
