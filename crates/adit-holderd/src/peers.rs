//! Where other holders are, and what is on its way to them.
//!
//! `peers` in the holder's folder has a line `0xACCOUNT PATH` for each holder that is reached through a Unix socket of this
//! machine: one of another operator here, or the end of whatever carries packets elsewhere. It is read again when it changes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use adit_model::AccountId;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::client::Client;

const FILE: &str = "peers";
/// Bytes of the file: some thousands of holders.
const MOST_BYTES: u64 = 1 << 20;
/// Packets that wait for one holder. More are dropped: what matters is said again every second.
const QUEUE: usize = 64;
/// Holders that packets wait for.
const MOST_PEERS: usize = 4096;
/// How long a packet may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where holders are, as the file says.
pub struct Peers {
    path: PathBuf,
    read: Option<SystemTime>,
    sockets: Arc<Mutex<HashMap<AccountId, PathBuf>>>,
}

/// Sends packets, or loses them.
#[derive(Clone)]
pub struct Outbox(mpsc::Sender<(AccountId, Bytes)>);

impl Outbox {
    /// Sends a packet some time.
    pub fn send(&self, to: AccountId, packet: Bytes) {
        // Full or closed: lost, and said again by the next tick.
        let _ = self.0.try_send((to, packet));
    }
}

impl Peers {
    /// The peers of a holder's folder, and what sends to them. Needs a tokio runtime.
    pub fn open(folder: &Path) -> (Self, Outbox) {
        let sockets = Arc::new(Mutex::new(HashMap::new()));
        let (sender, receiver) = mpsc::channel(QUEUE * 16);
        tokio::spawn(sort(receiver, sockets.clone()));
        let mut peers = Self { path: folder.join(FILE), read: None, sockets };
        peers.refresh();
        (peers, Outbox(sender))
    }

    /// Reads the file again if it changed. One that can't be read changes nothing, and is told.
    pub fn refresh(&mut self) {
        let changed = std::fs::metadata(&self.path).and_then(|data| Ok((data.modified()?, data.len())));
        let Ok((changed, len)) = changed else { return };
        if self.read == Some(changed) {
            return;
        }
        self.read = Some(changed);
        let text = match len > MOST_BYTES {
            true => Err("it is too large".to_owned()),
            false => std::fs::read_to_string(&self.path).map_err(|error| error.to_string()),
        };
        match text.and_then(|text| parse(&text)) {
            Ok(sockets) => *self.sockets.lock().expect("never poisoned") = sockets,
            Err(why) => eprintln!("adit-holder: {} is not taken: {why}", self.path.display()),
        }
    }
}

fn parse(text: &str) -> Result<HashMap<AccountId, PathBuf>, String> {
    let lines = text.lines().map(str::trim).zip(1..);
    let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(line, number)| {
            let (account, path) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let account = account.parse().map_err(|error| format!("line {number}: {error}"))?;
            let path = Path::new(path.trim());
            match path.is_absolute() {
                true => Ok((account, path.to_owned())),
                false => Err(format!("line {number}: after the account comes the absolute path of a socket")),
            }
        })
        .collect()
}

/// Gives each holder a queue and a task of its own, so that one that hangs delays nobody else's packets.
async fn sort(
    mut packets: mpsc::Receiver<(AccountId, Bytes)>,
    sockets: Arc<Mutex<HashMap<AccountId, PathBuf>>>,
) {
    let mut queues: HashMap<AccountId, (PathBuf, mpsc::Sender<Bytes>)> = HashMap::new();
    while let Some((to, packet)) = packets.recv().await {
        let Some(socket) = sockets.lock().expect("never poisoned").get(&to).cloned() else { continue };
        if queues.get(&to).is_none_or(|(known, _)| *known != socket) {
            if queues.len() >= MOST_PEERS {
                queues.clear();
            }
            let (sender, receiver) = mpsc::channel(QUEUE);
            tokio::spawn(deliver(socket.clone(), receiver));
            queues.insert(to, (socket, sender));
        }
        let _ = queues[&to].1.try_send(packet);
    }
}

async fn deliver(socket: PathBuf, mut packets: mpsc::Receiver<Bytes>) {
    let client = Client::new(socket);
    while let Some(packet) = packets.recv().await {
        // Lost: said again by the next tick.
        let _ = tokio::time::timeout(PATIENCE, client.packet(packet)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_accounts_and_absolute_paths() {
        let account = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A";
        let good = format!("# ours\n\n{account}  /run/a b/holder.sock \n");
        let read = parse(&good).unwrap();
        assert_eq!(read[&account.parse().unwrap()], Path::new("/run/a b/holder.sock"));
        for (bad, why) in [
            (format!("{account} holder.sock"), "line 1: after"),
            (format!("\n{account}"), "line 2: after"),
            ("0x12 /run/x".to_owned(), "line 1: an account"),
        ] {
            let said = parse(&bad).unwrap_err();
            assert!(said.starts_with(why), "{said}, not {why}");
        }
    }
}
