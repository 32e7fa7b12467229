//! Jobs on real nodes: where they run, what they deliver, and what happens when something breaks.

mod support;

use std::time::Duration;

use adit_model::{Envelope, EnvelopeCid, Expected, Invocation, Outcome, OutcomeResult, Signed, verify_job};
use adit_node::view::{AttemptResult, Delivered, JobEvent, JobState, LogStream, ResultView, Role};
use adit_node::{Placement, RunError, RunRequest};
use futures::StreamExt as _;
use support::{ENDLESS, TestNode, enclave, eventually, job, start, start_in};

/// Everything a stranger could check, from blocks alone.
async fn check_receipt(asker: &TestNode, host: &TestNode, delivered: &Delivered) {
    let envelope = Envelope::decode(&delivered.envelope).unwrap();
    let outcome = Outcome::decode(&delivered.outcome).unwrap();
    let block = asker
        .repo()
        .blocks()
        .get(&delivered.view.id.to_cid())
        .await
        .unwrap()
        .expect("the invocation is kept");
    let invocation = Signed::<Invocation>::decode(&block).unwrap();
    let expected = Expected { issuer: Some(asker.account()), node: Some(host.id()), ..Expected::default() };
    let proof = verify_job(&envelope, &invocation, &outcome, expected).unwrap();
    assert_eq!(proof.receipt.host, host.account());
    let name = EnvelopeCid::of_block(&delivered.envelope).to_cid();
    assert!(asker.repo().blocks().has(&name).await.unwrap(), "the receipt can be shown by its CID");
}

fn exit_code(delivered: &Delivered) -> u8 {
    match &delivered.view.result {
        Some(ResultView::Ok { exit, .. }) => *exit,
        other => panic!("no exit code: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_here_when_everything_is_here_and_is_remembered() {
    if enclave().is_none() {
        return;
    }
    let node = start(&[]).await;
    let (code, data) = (node.guest("tiny").await, node.add(vec![b'x'; 1000]).await);
    let first = node.run(job(code, data)).await.unwrap();
    assert_eq!(first.stdout.as_deref(), Some(&b"1000\n"[..]));
    assert_eq!((first.view.role, first.view.host, exit_code(&first)), (Role::Local, Some(node.id()), 0));
    assert_eq!(first.view.stats.bytes_moved, 0);
    assert!(!first.view.stats.remembered && first.view.why.is_some());
    check_receipt(&node, &node, &first).await;

    let second = node.run(job(code, data)).await.unwrap();
    assert!(second.view.stats.remembered);
    assert_eq!(second.outcome, first.outcome, "the same task has the same outcome");
    assert_ne!(second.envelope, first.envelope, "and a receipt of its own");
    check_receipt(&node, &node, &second).await;

    let fresh = node.run(RunRequest { fresh: true, ..job(code, data) }).await.unwrap();
    assert!(!fresh.view.stats.remembered);
    assert_eq!(fresh.outcome, first.outcome);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_to_the_node_that_holds_the_data() {
    if enclave().is_none() {
        return;
    }
    let (holder, asker, other) =
        tokio::join!(start(&[("host.accept", "anyone")]), start(&[]), start(&[("host.accept", "anyone")]));
    asker.meet(&holder).await;
    asker.meet(&other).await;
    let content: Vec<u8> = (0..400_000).flat_map(|n: u32| format!("line {n}\n").into_bytes()).collect();
    let data = holder.add(content).await;
    let code = asker.guest("lines").await;
    let delivered = asker.run(job(code, data)).await.unwrap();
    assert_eq!(delivered.stdout.as_deref(), Some(&b"400000 /in/data\n"[..]));
    assert_eq!(delivered.view.host, Some(holder.id()), "{:?}", delivered.view);
    assert_eq!(delivered.view.role, Role::Requester);
    // The program crossed the wire, and the answer; the data did not.
    assert!(delivered.view.stats.bytes_moved < 200_000, "{}", delivered.view.stats.bytes_moved);
    assert!(delivered.view.why.as_deref().unwrap().contains("holds"), "{:?}", delivered.view.why);
    check_receipt(&asker, &holder, &delivered).await;
    assert_eq!(holder.status().day.run, 1);
    assert_eq!(other.status().day.run, 0);
    // What the holder knows of it.
    let hosted = holder.job(&delivered.view.id).unwrap();
    assert_eq!((hosted.role, hosted.state, hosted.issuer), (Role::Host, JobState::Finished, asker.account()));
    for node in [holder, asker, other] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_brought_home_when_asked_for() {
    if enclave().is_none() {
        return;
    }
    let (holder, asker) = tokio::join!(start(&[("host.accept", "anyone")]), start(&[]));
    asker.meet(&holder).await;
    let content: Vec<u8> =
        (0..3u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let data = holder.add(content.clone()).await;
    let mut request = RunRequest::new(asker.guest("echo").await);
    request.stdin = Some(data);
    request.args = vec!["out=copy".into(), "err=done".into(), "exit=3".into()];
    request.fetch_result = true;
    let delivered = asker.run(request).await.unwrap();
    assert_eq!(exit_code(&delivered), 3);
    assert_eq!(delivered.stderr.as_deref(), Some(&b"done\n"[..]));
    let outcome = Outcome::decode(&delivered.outcome).unwrap();
    let OutcomeResult::Ok { root, .. } = outcome.out else { panic!("{outcome:?}") };
    // Read from the asker's store alone: everything is there.
    let store = asker.repo().blocks();
    let listing = store.get(&root).await.unwrap().expect("the directory came home");
    let file = adit_unixfs::links(&root, &listing).unwrap()[0];
    let mut bytes = 0;
    let mut pending = vec![file];
    while let Some(cid) = pending.pop() {
        let block = store.get(&cid).await.unwrap().expect("every block came home");
        bytes += block.len();
        pending.extend(adit_unixfs::links(&cid, &block).unwrap());
    }
    assert!(bytes >= content.len());
    holder.stop().await;
    asker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_come_with_their_reasons_and_are_counted() {
    if enclave().is_none() {
        return;
    }
    let (closed, asker) = tokio::join!(start(&[("host.accept", "self")]), start(&[]));
    asker.meet(&closed).await;
    let (code, data) = (asker.guest("tiny").await, asker.add("abc").await);
    let request = RunRequest { placement: Placement::At(closed.id()), ..job(code, data) };
    let Err(RunError::Failed { job: id, state, failure }) = asker.run(request).await else {
        panic!("a closed node took a job")
    };
    assert_eq!(state, JobState::Failed);
    assert!(failure.reason.contains("accept = self"), "{failure}");
    let view = asker.job(&id).unwrap();
    assert_eq!(view.attempts[0].result, AttemptResult::Refused);
    assert!(view.attempts[0].reason.is_some());
    assert_eq!(closed.status().day.refused["not-accepted"], 1);
    closed.stop().await;
    asker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn near_and_at_and_dry_run_choose_as_told() {
    if enclave().is_none() {
        return;
    }
    let (other, asker) = tokio::join!(start(&[("host.accept", "anyone")]), start(&[]));
    asker.meet(&other).await;
    let (code, data) = (asker.guest("tiny").await, asker.add("abc").await);
    let at = RunRequest { placement: Placement::At(other.id()), ..job(code, data) };
    let plan = asker.plan(at.clone()).await.unwrap();
    assert_eq!(plan.candidates[0].node, other.id());
    assert!(asker.jobs(10).is_empty(), "a dry run is no job");
    assert_eq!(asker.run(at).await.unwrap().view.host, Some(other.id()));
    let near = RunRequest { placement: Placement::Near, ..job(code, data) };
    assert_eq!(asker.run(near).await.unwrap().view.host, Some(other.id()));
    assert_eq!(asker.run(job(code, data)).await.unwrap().view.host, Some(asker.id()));
    other.stop().await;
    asker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_streams_live_and_cancel_ends_the_guest_at_both_ends() {
    if enclave().is_none() {
        return;
    }
    let (host, asker) = tokio::join!(start(&[("host.accept", "anyone")]), start(&[]));
    asker.meet(&host).await;
    // Writes a line, then never ends.
    let code = asker
        .wat(
            r#"(module
                (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 1)
                (data (i32.const 16) "alive\n")
                (func (export "_start")
                    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 6))
                    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                    (loop br 0)))"#,
        )
        .await;
    let mut request = RunRequest::new(code);
    request.placement = Placement::At(host.id());
    request.live_logs = true;
    request.timeout = Duration::from_secs(60);
    let id = asker.submit(request).await.unwrap();
    let mut events = asker.follow(&id).unwrap();
    loop {
        match events.next().await.expect("the story goes on until it ends") {
            JobEvent::Log { stream: LogStream::Stdout, bytes, .. } => {
                assert_eq!(&bytes[..], b"alive\n");
                break;
            }
            JobEvent::Done(view) => panic!("ended before it wrote: {view:?}"),
            _ => {}
        }
    }
    assert_eq!(host.status().running, 1);
    assert!(asker.cancel(&id));
    assert_eq!(asker.wait(&id).await.unwrap().state, JobState::Cancelled);
    eventually("the host has stopped the guest", || host.status().running == 0).await;
    assert_eq!(host.job(&id).unwrap().state, JobState::Cancelled);
    assert!(!asker.cancel(&id), "an ended job cannot be cancelled");
    host.stop().await;
    asker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requester_that_disappears_leaves_no_job_behind() {
    if enclave().is_none() {
        return;
    }
    let (host, asker) = tokio::join!(start(&[("host.accept", "anyone")]), start(&[]));
    asker.meet(&host).await;
    let mut request = RunRequest::new(asker.wat(ENDLESS).await);
    request.placement = Placement::At(host.id());
    request.timeout = Duration::from_secs(600);
    asker.submit(request).await.unwrap();
    eventually("the guest runs", || host.status().running == 1).await;
    // Not a goodbye: the network is simply gone.
    asker.net().shutdown().await;
    eventually("the host has given the job up", || host.status().running == 0).await;
    assert_eq!(host.status().day.lost["withdrawn"], 1);
    host.stop().await;
    asker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_runs_out_for_endless_guests() {
    if enclave().is_none() {
        return;
    }
    let node = start(&[]).await;
    let mut request = RunRequest::new(node.wat(ENDLESS).await);
    request.timeout = Duration::from_millis(1500);
    request.limits.fuel = u64::MAX >> 1;
    let Err(RunError::Failed { state, .. }) = node.run(request).await else { panic!("it ended") };
    assert_eq!(state, JobState::Expired);
    eventually("the slot is free", || node.status().running == 0).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_enclave_is_started_again_and_its_job_run_once_more() {
    if enclave().is_none() {
        return;
    }
    let node = start(&[]).await;
    let mut request = RunRequest::new(node.wat(ENDLESS).await);
    request.timeout = Duration::from_secs(120);
    let id = node.submit(request).await.unwrap();
    eventually("the guest runs", || node.job(&id).unwrap().state == JobState::Running).await;
    for kill in 1..=2 {
        let adit_node::view::EnclaveStatus::Up { pid: Some(pid), .. } = node.status().enclave else {
            panic!("not up")
        };
        let killed = rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid as i32).unwrap(),
            rustix::process::Signal::KILL,
        );
        killed.unwrap();
        eventually("the enclave is up again", || {
            matches!(node.status().enclave, adit_node::view::EnclaveStatus::Up { pid: new, restarts, .. }
                if new != Some(pid) && restarts >= kill)
        })
        .await;
        if kill == 1 {
            assert!(!node.job(&id).unwrap().state.is_final(), "it is run once more");
            eventually("it runs again", || node.status().running == 1).await;
        }
    }
    let ended = node.wait(&id).await.unwrap();
    assert_eq!(ended.state, JobState::Failed, "twice is the host's fault");
    let (code, data) = (node.guest("tiny").await, node.add("abc").await);
    assert_eq!(exit_code(&node.run(job(code, data)).await.unwrap()), 0, "the node works on");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_job_and_history_survives_a_restart() {
    if enclave().is_none() {
        return;
    }
    let node = start(&[]).await;
    let (code, data) = (node.guest("tiny").await, node.add("abc").await);
    let request = RunRequest { idempotency_key: Some("once".into()), ..job(code, data) };
    let first = node.run(request.clone()).await.unwrap();
    let second = node.run(request.clone()).await.unwrap();
    assert_eq!((first.view.id, &first.envelope), (second.view.id, &second.envelope));
    let other = RunRequest { args: vec!["other".into()], ..request };
    assert!(matches!(node.run(other).await, Err(RunError::KeyReused(id)) if id == first.view.id));
    assert_eq!(node.jobs(10).len(), 1);
    let dir = node.stop().await;
    let node = start_in(dir, &[]).await;
    assert_eq!(node.job(&first.view.id).unwrap(), first.view);
    assert_eq!(node.jobs(10).len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_content_is_a_clear_error_within_the_time() {
    if enclave().is_none() {
        return;
    }
    let node = start(&[("jobs.fetch-timeout", "1s")]).await;
    let absent = adit_unixfs::Block::new(adit_unixfs::block::RAW, b"nobody has this".to_vec()).cid;
    let begun = std::time::Instant::now();
    let Err(RunError::Unavailable { cid, .. }) = node.run(RunRequest::new(absent)).await else { panic!() };
    assert_eq!(cid, absent);
    let code = node.guest("tiny").await;
    let mut request = job(code, absent);
    request.timeout = Duration::from_secs(20);
    let Err(RunError::Failed { failure, .. }) = node.run(request).await else {
        panic!("it read what is not there")
    };
    assert!(failure.reason.contains(&absent.to_string()), "{failure}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let text = node.add("just text, no program at all").await;
    assert!(matches!(node.run(RunRequest::new(text)).await, Err(RunError::Invalid(_))));
    node.stop().await;
}
