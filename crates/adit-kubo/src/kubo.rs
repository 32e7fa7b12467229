//! What a repo asks of a Kubo, in Kubo's commands.

use std::{collections::HashMap, sync::Arc, time::Duration};

use adit_store::{
    Backend, BackendError, BackendFailure, BlockStream, Incomplete, Keeper, KeeperReport, KeeperStat, Kept,
    MAX_BLOCK_LEN, PinKind,
};
use adit_unixfs::block;
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    absent::Absent,
    circuit::Away,
    client::{Client, InvalidKubo, Options, Said},
    upload,
};

/// A JSON answer of one value.
const ANSWER: usize = 1 << 20;
/// What walks all of Kubo's repository may be silent for so long.
const UPKEEP: Duration = Duration::from_secs(3600);
/// Holes and corrupt blocks that are listed.
const LISTED: usize = 10_000;

/// A Kubo node, by its RPC.
#[derive(Debug)]
pub struct Kubo {
    client: Arc<Client>,
    absent: Absent,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlockStat {
    size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RepoStat {
    repo_size: u64,
    storage_max: u64,
    num_objects: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PinLine {
    cid: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PinKeys {
    #[serde(default)]
    keys: HashMap<String, PinKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PinKey {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Imported {
    stats: Option<ImportStats>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImportStats {
    block_count: u64,
}

impl Kubo {
    /// Nothing is sent yet.
    pub fn new(options: Options) -> Result<Self, InvalidKubo> {
        Ok(Self { client: Arc::new(Client::new(options)?), absent: Absent::default() })
    }

    /// Its version, such as `0.43.0`.
    pub async fn version(&self) -> Result<String, BackendError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Version {
            version: String,
        }
        Ok(self.value::<Version>("version").await?.version)
    }

    /// Since when it has not answered, where requests fail at once because of that.
    pub fn away(&self) -> Option<Away> {
        self.client.away()
    }

    /// Its peer id, base58 as a rule, and its public key in libp2p's protobuf. Neither is checked.
    pub async fn identity(&self) -> Result<(String, Vec<u8>), BackendError> {
        #[derive(Deserialize)]
        struct Identity {
            #[serde(rename = "ID")]
            id: String,
            #[serde(rename = "PublicKey")]
            key: String,
        }
        let Identity { id, key } = self.value("id?offline=true").await?;
        let unreadable = |_| self.client.error(BackendFailure::Wrong, "its public key cannot be read");
        Ok((id, BASE64.decode(key.as_bytes()).map_err(unreadable)?))
    }

    /// Has it sign something with its own key (`ipfs key sign`, since Kubo 0.25), which signs `libp2p-key signed
    /// message:` and then these bytes. The signature is not checked.
    pub async fn sign(&self, data: Vec<u8>) -> Result<Vec<u8>, BackendError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Signed {
            signature: String,
        }
        match self.client.call_with("key/sign?key=self", Some(data.into()), ANSWER).await? {
            Said::Done(answer) => {
                let Signed { signature } = self.read(&answer)?;
                // Multibase, of which Kubo uses this one.
                let text = signature.strip_prefix('u').map(str::as_bytes);
                let bytes = text.and_then(|text| BASE64URL_NOPAD.decode(text).ok());
                bytes.ok_or_else(|| self.client.error(BackendFailure::Wrong, "its signature cannot be read"))
            }
            Said::No(words) => Err(self.client.refused(&words)),
        }
    }

    async fn value<T: DeserializeOwned>(&self, command: &str) -> Result<T, BackendError> {
        match self.client.call(command, ANSWER).await? {
            Said::Done(answer) => self.read(&answer),
            Said::No(words) => Err(self.client.refused(&words)),
        }
    }

    fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, BackendError> {
        let unreadable =
            |error| self.client.error(BackendFailure::Wrong, format!("its answer cannot be read: {error}"));
        serde_json::from_slice(answer).map_err(unreadable)
    }

    /// A command about one block; `None` where Kubo lacks it.
    async fn about(&self, command: &str, cid: &Cid, limit: usize) -> Result<Option<Bytes>, BackendError> {
        if self.absent.knows(cid) {
            return Ok(None);
        }
        match self.client.call(&format!("{command}?arg={cid}&offline=true"), limit).await? {
            Said::Done(answer) => Ok(Some(answer)),
            Said::No(words) if is_absence(&words) => {
                self.absent.note(cid);
                Ok(None)
            }
            Said::No(words) => Err(self.client.refused(&words)),
        }
    }

    async fn pins_of(&self, kind: PinKind, take: &mut Vec<Kept>) -> Result<(), BackendError> {
        let command = format!("pin/ls?type={}&names=true&stream=true", name_of(kind));
        let each = |line: &[u8]| {
            let PinLine { cid, name } = self.read(line)?;
            let cid = self.cid(&cid)?;
            take.push(Kept { cid, kind, name });
            Ok(())
        };
        self.client.lines(&command, self.client.patience, each).await
    }

    fn cid(&self, text: &str) -> Result<Cid, BackendError> {
        text.parse().map_err(|_| self.client.error(BackendFailure::Wrong, "names something that is no CID"))
    }
}

fn name_of(kind: PinKind) -> &'static str {
    match kind {
        PinKind::Recursive => "recursive",
        PinKind::Direct => "direct",
    }
}

/// Whether Kubo says, in words, that it lacks a block: its statuses do not tell.
fn is_absence(words: &str) -> bool {
    words.contains("not found") || words.contains("could not find")
}

/// What may stand in a query as it is.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[async_trait]
impl Backend for Kubo {
    fn name(&self) -> &str {
        &self.client.name
    }

    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BackendError> {
        let Some(data) = self.about("block/get", cid, MAX_BLOCK_LEN).await? else { return Ok(None) };
        match block::verify_hash(cid, &data) {
            Ok(()) => Ok(Some(data)),
            Err(_) => {
                Err(self.client.error(BackendFailure::Wrong, format!("sent something that is not {cid}")))
            }
        }
    }

    async fn size(&self, cid: &Cid) -> Result<Option<u64>, BackendError> {
        let Some(answer) = self.about("block/stat", cid, ANSWER).await? else { return Ok(None) };
        Ok(Some(self.read::<BlockStat>(&answer)?.size))
    }

    fn keeper(&self) -> Option<&dyn Keeper> {
        Some(self)
    }
}

#[async_trait]
impl Keeper for Kubo {
    async fn take(&self, root: &Cid, kind: PinKind, blocks: BlockStream) -> Result<(), BackendError> {
        // Not with `pin-roots`: pinning says by progress that it goes on, and importing doesn't. If Kubo collects garbage
        // in between, the pin finds a hole, and the repo gives the blocks once more.
        let command = "dag/import?pin-roots=false&stats=true&allow-big-block=true&offline=true";
        let (answer, sent) = upload::car(&self.client, command, root, blocks).await?;
        let mut stored = None;
        let mut each = |line: &[u8]| {
            stored = self.read::<Imported>(line)?.stats.map(|stats| stats.block_count).or(stored);
            Ok(())
        };
        self.client.each_line(answer, self.client.patience, &mut each).await?;
        self.absent.forget();
        if stored != Some(sent) {
            let words = format!("was given {sent} blocks and speaks of {}", stored.unwrap_or(0));
            return Err(self.client.error(BackendFailure::Wrong, words));
        }
        match self.pin(root, kind, "").await? {
            true => Ok(()),
            false => {
                let words = format!("does not hold everything below {root}");
                Err(self.client.error(BackendFailure::Incomplete, words))
            }
        }
    }

    async fn pin(&self, root: &Cid, kind: PinKind, name: &str) -> Result<bool, BackendError> {
        let recursive = kind == PinKind::Recursive;
        let mut command = format!("pin/add?arg={root}&recursive={recursive}&progress=true&offline=true");
        if !name.is_empty() {
            command.push_str(&format!("&name={}", encode(name)));
        }
        let pinned = std::sync::atomic::AtomicBool::new(false);
        let each = |line: &[u8]| {
            // A line is progress, or at the end what was pinned.
            if self.read::<serde_json::Value>(line)?.get("Pins").is_some_and(|pins| !pins.is_null()) {
                pinned.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            Ok(())
        };
        match self.client.lines(&command, self.client.patience, each).await {
            Ok(()) if pinned.into_inner() => Ok(true),
            Ok(()) => Err(self.client.error(BackendFailure::Wrong, "does not say whether it pinned")),
            Err(error) if error.failure == BackendFailure::Refused && is_absence(&error.reason) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn unpin(&self, root: &Cid) -> Result<bool, BackendError> {
        match self.client.call(&format!("pin/rm?arg={root}&recursive=true&offline=true"), ANSWER).await? {
            Said::Done(_) => Ok(true),
            Said::No(words) if words.contains("not pinned") => Ok(false),
            Said::No(words) => Err(self.client.refused(&words)),
        }
    }

    async fn pinned(&self, root: &Cid) -> Result<Option<Kept>, BackendError> {
        for kind in [PinKind::Recursive, PinKind::Direct] {
            let command = format!("pin/ls?arg={root}&type={}&names=true&offline=true", name_of(kind));
            match self.client.call(&command, ANSWER).await? {
                Said::Done(answer) => {
                    let name = self.read::<PinKeys>(&answer)?.keys.into_values().next().map(|key| key.name);
                    return Ok(Some(Kept { cid: *root, kind, name: name.unwrap_or_default() }));
                }
                Said::No(words) if words.contains("not pinned") || is_absence(&words) => {}
                Said::No(words) => return Err(self.client.refused(&words)),
            }
        }
        Ok(None)
    }

    async fn pins(&self) -> Result<Vec<Kept>, BackendError> {
        let mut pins = Vec::new();
        self.pins_of(PinKind::Recursive, &mut pins).await?;
        self.pins_of(PinKind::Direct, &mut pins).await?;
        Ok(pins)
    }

    async fn remove(&self, cid: &Cid) -> Result<(), BackendError> {
        match self.client.call(&format!("block/rm?arg={cid}&force=true&offline=true"), ANSWER).await? {
            Said::Done(answer) if answer.trim_ascii().is_empty() => Ok(()),
            Said::Done(answer) => match self.read::<serde_json::Value>(&answer)?["Error"].as_str() {
                None | Some("") => Ok(()),
                Some(words) => Err(self.client.refused(words)),
            },
            Said::No(words) => Err(self.client.refused(&words)),
        }
    }

    async fn collect(&self) -> Result<u64, BackendError> {
        let mut removed = 0;
        let each = |line: &[u8]| {
            let value: serde_json::Value = self.read(line)?;
            match value["Error"].as_str() {
                None | Some("") => removed += 1,
                Some(words) => return Err(self.client.refused(words)),
            }
            Ok(())
        };
        self.client.lines("repo/gc", UPKEEP, each).await?;
        Ok(removed)
    }

    async fn verify(&self) -> Result<KeeperReport, BackendError> {
        let mut report = KeeperReport::default();
        let each = |line: &[u8]| {
            let value: serde_json::Value = self.read(line)?;
            report.blocks = report.blocks.max(value["Progress"].as_u64().unwrap_or(0));
            let words = value["Msg"].as_str().unwrap_or("");
            if words.contains("corrupt") && report.corrupt.len() < LISTED {
                report.corrupt.extend(words.split_whitespace().find_map(|word| word.parse::<Cid>().ok()));
            }
            Ok(())
        };
        let walked = self.client.lines("repo/verify?offline=true", UPKEEP, each).await;
        // It ends with an error when it found something, which is no failure to look.
        walked.or_else(|error| if report.corrupt.is_empty() { Err(error) } else { Ok(()) })?;
        let each = |line: &[u8]| {
            let value: serde_json::Value = self.read(line)?;
            let bad = value["BadNodes"].as_array();
            if let (Some(root), Some(bad)) = (value["Cid"].as_str(), bad)
                && report.incomplete.len() < LISTED
            {
                let reason = bad.first().and_then(|bad| bad["Err"].as_str()).unwrap_or("has a hole");
                report.incomplete.push(Incomplete { root: self.cid(root)?, reason: reason.to_owned() });
            }
            Ok(())
        };
        self.client.lines("pin/verify?offline=true", UPKEEP, each).await?;
        Ok(report)
    }

    async fn stat(&self) -> Result<KeeperStat, BackendError> {
        let RepoStat { repo_size, storage_max, num_objects } = self.value("repo/stat").await?;
        let pins = self.pins().await?.len() as u64;
        let limit = Some(storage_max).filter(|most| *most > 0);
        Ok(KeeperStat { blocks: num_objects, used: repo_size, limit, pins })
    }

    async fn provide(&self, root: &Cid) -> Result<(), BackendError> {
        self.client.lines(&format!("routing/provide?arg={root}"), UPKEEP, |_| Ok(())).await
    }
}
