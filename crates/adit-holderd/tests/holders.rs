//! Five real holders, as processes: a key is released to an enclave that is attested and allowed, and to nobody else.
//!
//! The test plays the owner, the requester, the host, the enclave, and the devnet whose simulated attester counts here.

#[path = "../../adit-holder/tests/scene/mod.rs"]
mod scene;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use adit_holder::protocol::{Commit, Hello, LogAsked, Refused};
use adit_holder::{Reservation, Terms};
use adit_holderd::client::{AskError, Client};
use adit_holderd::{SOCKET, Status, now};
use adit_model::*;
use adit_release::{Act, Audit, Chain, Copy, Entry};
use scene::{Job, K, N, Scene, account, root};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const ALL: [usize; 5] = [0, 1, 2, 3, 4];

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_adit-holder"))
}

/// A holder that runs, or ran.
struct Process {
    dir: TempDir,
    child: Option<Child>,
    /// The devnet's end of the socket: the holder ends when it closes.
    devnet: Option<UnixStream>,
    client: Client,
}

impl Process {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new(dir.path().join(SOCKET));
        Self { dir, child: None, devnet: None, client }
    }

    /// Starts it, and waits until it listens.
    fn start(&mut self, devnet: bool) {
        let mut command = program();
        command.arg("--folder").arg(self.dir.path()).arg("--anyone").stdout(Stdio::piped());
        if devnet {
            let (ours, theirs) = UnixStream::pair().unwrap();
            (&ours).write_all(&root().verifying_key().to_bytes()).unwrap();
            command.arg("--devnet").stdin(OwnedFd::from(theirs));
            self.devnet = Some(ours);
        } else {
            command.stdin(Stdio::null());
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.child = Some(child);
        assert!(line.contains(" listens at "), "{line:?}");
    }

    /// As a power cut would.
    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

struct World {
    holders: Vec<Process>,
    scene: Scene,
}

impl World {
    async fn start(devnet: bool, uses: u32, change: impl FnOnce(&mut Policy)) -> Self {
        let mut holders: Vec<_> = ALL.iter().map(|_| Process::new()).collect();
        let mut known = Vec::new();
        for holder in &mut holders {
            holder.start(devnet);
            let Status { account, key, objects } = holder.client.status().await.unwrap();
            assert!(objects.is_empty());
            known.push((account, key));
        }
        let line = |(holder, (account, _)): (&Process, &(AccountId, SealKey))| {
            format!("{account} {}\n", holder.dir.path().join(SOCKET).display())
        };
        let peers: String = holders.iter().zip(&known).map(line).collect();
        let scene = Scene::with(&known, now() / 1000, change);
        for (at, holder) in holders.iter().enumerate() {
            std::fs::write(holder.dir.path().join("peers"), &peers).unwrap();
            holder.client.enrol(&scene.enrol(at)).await.unwrap();
            holder.client.said(&scene.said(1, uses)).await.unwrap();
        }
        let world = Self { holders, scene };
        world.until_serving(&ALL).await;
        world
    }

    /// Until these have heard enough others, and the owner.
    async fn until_serving(&self, which: &[usize]) {
        let started = Instant::now();
        for at in which {
            loop {
                let status = self.holders[*at].client.status().await.unwrap();
                if status.objects.iter().all(|held| held.serving && held.head > 0) {
                    break;
                }
                assert!(started.elapsed() < PATIENCE, "holder {at} does not serve: {status:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// A job whose quote has a nonce of each of these holders, for the first slot that is free with all of them.
    async fn job(&self, n: u8, from: &[usize]) -> Job {
        let mut job = self.scene.job(n);
        for at in from {
            let hello = Hello { session: job.session.key().0, grant: self.scene.grant_id() };
            let welcome = self.holders[*at].client.hello(&hello).await.unwrap();
            assert!(welcome.serving && welcome.head.is_some());
            job.nonces.push(QuoteNonce(welcome.nonce));
            job.slot = job.slot.max(welcome.slot.unwrap_or(0));
        }
        job.quoted = now() / 1000;
        job
    }

    async fn reserved(&self, at: usize, job: &Job) -> Result<Reservation, AskError> {
        self.holders[at].client.wish(&self.scene.wish(job)).await
    }

    /// One use, from wish to key.
    async fn key(&self, job: &Job, from: &[usize]) -> Result<(), AskError> {
        let wished = from.iter().map(|at| self.reserved(*at, job));
        let reservations = futures::future::try_join_all(wished).await?;
        let commit = Commit { grant: self.scene.grant_id(), used: self.scene.used(job), reservations };
        let given = from.iter().map(|at| self.holders[*at].client.commit(&commit));
        let given = futures::future::try_join_all(given).await?;
        let given: BTreeMap<_, _> = from.iter().copied().zip(given).collect();
        self.scene.opened(job, &given).unwrap();
        Ok(())
    }

    /// The numbers with which every one of these holders refuses a job's wish.
    async fn refused(&self, job: &Job, from: &[usize]) -> Vec<u8> {
        let mut numbers = Vec::new();
        for at in from {
            let Refused { why } = refusal(self.reserved(*at, job).await.err());
            assert!(why.iter().all(|why| !why.words.is_empty()));
            let said: Vec<_> = why.iter().map(|why| why.number).collect();
            assert!(numbers.is_empty() || numbers == said, "holder {at} says {said:?}, others {numbers:?}");
            numbers = said;
        }
        numbers
    }

    /// What a holder has of a holder's log, each entry's signature checked.
    async fn log(&self, at: usize, of: u8) -> Chain {
        let account = self.scene.grant.body().holders[usize::from(of)].account;
        let (grant, owner) = (self.scene.grant_id(), &self.scene.owner);
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = u32::try_from(entries.len()).unwrap();
            let asked = LogAsked::sign(grant, of, after, now(), owner);
            let page = self.holders[at].client.log(&asked).await.unwrap();
            for (entry, mark) in page.entries.iter().zip(&page.marks) {
                account.check(&entry.id().0, &mark.0).unwrap();
            }
            entries.extend(page.entries);
            if entries.len() >= page.len as usize {
                return Chain::of(&grant, of, &entries).expect("each entry follows the one before");
            }
        }
    }
}

fn refusal(error: Option<AskError>) -> Refused {
    match error {
        Some(AskError::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn five_processes_release_a_key_one_of_them_killed_and_their_logs_tell() {
    let mut world = World::start(true, 3, |_| {}).await;
    let first = world.job(1, &ALL).await;
    world.key(&first, &ALL).await.unwrap();

    world.holders[2].kill();
    let four = [0, 1, 3, 4];
    let second = world.job(2, &four).await;
    assert_eq!(second.slot, 1);
    world.key(&second, &four).await.unwrap();

    // It comes back, hears the others, and keeps what it had.
    world.holders[2].start(true);
    world.until_serving(&[2]).await;
    let third = world.job(3, &ALL).await;
    assert_eq!(third.slot, 2);
    world.key(&third, &ALL).await.unwrap();
    let fourth = world.job(4, &ALL).await;
    assert_eq!(world.refused(&Job { slot: 3, ..fourth }, &ALL).await, [153], "three uses are all");
    let mut other = world.job(5, &ALL).await;
    other.task.args = vec!["--all".into()];
    other.invocation.task = other.task.cid();
    assert_eq!(world.refused(&other, &ALL).await, [44]);

    // What the owner reads, from each holder its own log.
    let mut chains = Vec::new();
    for at in ALL {
        chains.push(world.log(at, at as u8).await);
    }
    let copies = (0..).zip(&chains).map(|(at, chain)| Copy { by: at, of: at, chain });
    let audit = Audit::of(Terms::new(N, K).unwrap(), copies);
    let keys: Vec<_> = audit.keys().map(|given| (given.used.slot, given.by.len())).collect();
    assert_eq!(keys, [(0, 5), (1, 4), (2, 5)]);
    assert!(audit.contradictions.is_empty() && audit.twice.is_empty() && audit.unknown.is_empty());
    let refused = world.scene.used(&other).invocation;
    let noted = |line: &&adit_release::Line| line.act == Act::Refused { invocation: refused, reason: 44 };
    assert_eq!(audit.lines.iter().filter(noted).count(), 5, "each wrote down that it refused");
    // A witness keeps another's log too, as far as it matters.
    let kept = world.log(0, 2).await;
    assert!(kept.entries().iter().any(|entry| entry.act == Act::Used(world.scene.used(&first))));
    let stranger = LogAsked::sign(world.scene.grant_id(), 2, 0, now(), &account(99));
    let error = world.holders[2].client.log(&stranger).await.err();
    assert_eq!(refusal(error).why[0].number, 125);
}

#[tokio::test]
async fn too_few_holders_and_a_revoked_policy_give_no_key() {
    let mut world = World::start(true, 3, |_| {}).await;
    world.holders[0].kill();
    world.holders[1].kill();
    let three = [2, 3, 4];
    let job = world.job(1, &three).await;
    let why = refusal(world.key(&job, &three).await.err());
    assert_eq!(why.why[0].number, 156, "{why}");
    for at in [0, 1] {
        world.holders[at].start(true);
    }
    world.until_serving(&ALL).await;
    for holder in &world.holders {
        holder.client.said(&world.scene.said(2, 0)).await.unwrap();
    }
    let job = world.job(1, &ALL).await;
    assert_eq!(world.refused(&job, &ALL).await, [3]);
    // The earlier word does not bring it back.
    let old = refusal(world.holders[3].client.said(&world.scene.said(1, 3)).await.err());
    assert_eq!(old.why[0].number, 157, "{old}");
    assert_eq!(world.refused(&job, &ALL).await, [3]);
}

#[tokio::test]
async fn a_word_reaches_a_holder_that_was_away_through_the_others() {
    let mut world = World::start(true, 3, |_| {}).await;
    world.holders[4].kill();
    for holder in &world.holders[..4] {
        holder.client.said(&world.scene.said(2, 0)).await.unwrap();
    }
    world.holders[4].start(true);
    world.until_serving(&[4]).await;
    let job = world.job(1, &ALL).await;
    assert_eq!(world.refused(&job, &ALL).await, [3]);
}

#[tokio::test]
async fn a_stale_quote_is_refused() {
    let world = World::start(true, 3, |policy| policy.evidence.max_age = 1).await;
    let job = world.job(1, &ALL).await;
    // The holder's own clock decides, so it is asked until it finds the quote too old.
    let started = Instant::now();
    while world.reserved(0, &job).await.is_ok() {
        assert!(started.elapsed() < PATIENCE, "a quote of {:?} is still good", started.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let numbers = world.refused(&job, &[0]).await;
    assert!(numbers.contains(&73), "{numbers:?}");
}

#[tokio::test]
async fn simulated_evidence_counts_in_its_devnet_alone() {
    let world = World::start(false, 3, |_| {}).await;
    let job = world.job(1, &ALL).await;
    assert_eq!(world.refused(&job, &ALL).await, [71]);
    let world = World::start(true, 3, |_| {}).await;
    let mut job = world.job(1, &ALL).await;
    job.root = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    assert_eq!(world.refused(&job, &ALL).await, [71], "another devnet's attester");
}

/// Starts a holder that should not start, with its standard input.
fn refuses_to_start(dir: &Path, stdin: Stdio) -> String {
    let mut child = program()
        .args(["--devnet", "--anyone", "--folder"])
        .arg(dir)
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!child.wait().unwrap().success(), "{said}");
    said
}

#[test]
fn no_file_pipe_or_strangers_socket_makes_a_holder_part_of_a_devnet() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("holder");
    let file: PathBuf = dir.path().join("root");
    std::fs::write(&file, root().verifying_key().to_bytes()).unwrap();
    let only = "only a devnet";
    let from_file = refuses_to_start(&folder, std::fs::File::open(&file).unwrap().into());
    assert!(from_file.contains(only), "{from_file}");
    let nothing = refuses_to_start(&folder, Stdio::null());
    assert!(nothing.contains(only), "{nothing}");
    // A pipe with the root in it, from another process.
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input: ChildStdin = cat.stdin.take().unwrap();
    input.write_all(&root().verifying_key().to_bytes()).unwrap();
    let piped = refuses_to_start(&folder, cat.stdout.take().unwrap().into());
    assert!(piped.contains(only), "{piped}");
    drop(input);
    cat.wait().unwrap();
    // A socket whose other end is this process's, handed on by a shell.
    let (ours, theirs) = UnixStream::pair().unwrap();
    (&ours).write_all(&root().verifying_key().to_bytes()).unwrap();
    let shell = Command::new("sh")
        .args(["-c", "\"$0\" --devnet --anyone --folder \"$1\"; exit $?"])
        .arg(env!("CARGO_BIN_EXE_adit-holder"))
        .arg(&folder)
        .stdin(OwnedFd::from(theirs))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&shell.stderr);
    assert!(!shell.status.success() && said.contains(only), "{said}");
    assert!(!folder.exists(), "and nothing was made");
}

#[tokio::test]
async fn a_holder_ends_with_its_devnet_and_shares_its_folder_with_nobody() {
    let mut holder = Process::new();
    holder.start(true);
    let second = program().arg("--folder").arg(holder.dir.path()).stdin(Stdio::null()).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("cannot open"), "{second:?}");
    holder.client.status().await.unwrap();
    holder.devnet = None;
    let mut child = holder.child.take().unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert!(tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap().success());
    assert!(!holder.dir.path().join(SOCKET).exists());
}

#[tokio::test]
async fn an_owner_who_is_not_named_is_refused() {
    let mut holder = Process::new();
    let mut command = program();
    command.arg("--folder").arg(holder.dir.path()).arg("--owner").arg(account(51).account().to_string());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    holder.child = Some(child);
    let Status { account: me, key, .. } = holder.client.status().await.unwrap();
    let mut holders = vec![(me, key)];
    holders.extend((2..=N).map(|n| (account(n).account(), SealKey([n; 32]))));
    let scene = Scene::new(&holders, now() / 1000);
    let refused = refusal(holder.client.enrol(&scene.enrol(0)).await.err());
    assert_eq!(refused.why[0].number, 123, "{refused}");
}

/// What a raw HTTP request is answered.
fn raw(socket: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    // The holder may answer and close before all is sent.
    let _ = stream.write_all(request);
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn strange_requests_are_answered_and_harm_nobody() {
    let mut holder = Process::new();
    holder.start(false);
    let socket = holder.dir.path().join(SOCKET);
    let post = |path: &str, kind: &str, len: usize, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {len}\r\n\r\n"
        );
        raw(&socket, &[head.as_bytes(), body].concat())
    };
    let cbor = adit_holderd::CONTENT_TYPE;
    let starts = |answer: String, with: &str| assert!(answer.starts_with(with), "{answer}");
    starts(post("/v1/hello", "text/plain", 1, b"x"), "HTTP/1.1 415");
    starts(post("/v1/hello", cbor, 257, &[0; 257]), "HTTP/1.1 413");
    starts(post("/v1/wish", cbor, 5 << 20, &vec![0; 5 << 20]), "HTTP/1.1 413");
    starts(post("/v1/nothing", cbor, 1, b"x"), "HTTP/1.1 404");
    starts(post("/", cbor, 1, b"x"), "HTTP/1.1 404");
    starts(
        raw(&socket, b"DELETE /v1/hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
        "HTTP/1.1 405",
    );
    for what in ["hello", "wish", "commit", "log", "enrol", "words"] {
        let answer = post(&format!("/v1/{what}"), cbor, 3, b"abc");
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("can't be read"), "{what}: {answer}");
    }
    starts(post("/v1/packet", cbor, 3, b"abc"), "HTTP/1.1 204");
    starts(raw(&socket, b"not http at all\r\n\r\n"), "HTTP/1.1 400");
    assert!(holder.client.status().await.unwrap().objects.is_empty());
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
}
