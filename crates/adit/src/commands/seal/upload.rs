//! Blocks that are made here, into the node: as a CAR while they are made, then their root, pinned.

use adit_api::client::Client;
use adit_unixfs::build::Built;
use adit_unixfs::{Block, car};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::ended;
use crate::exit::Failure;

/// Pieces made ahead of the connection.
const AHEAD: usize = 8;

/// Sends the blocks that `make`, on a thread of its own, hands to the function that it is given; `false` from that
/// means that nobody listens any more. The last block must be the root.
///
/// A CAR names its roots first, and the root is known last. So all blocks go without a root, and the root's goes once
/// more, to be pinned: which fails, should a collection have come between the two.
pub(super) async fn upload(
    client: &Client,
    pin: bool,
    make: impl FnOnce(&mut dyn FnMut(Vec<Block>) -> bool) -> Result<Built, Failure> + Send + 'static,
) -> Result<Built, Failure> {
    let (send, receive) = mpsc::channel::<std::io::Result<Bytes>>(AHEAD);
    let making = tokio::task::spawn_blocking(move || {
        let mut root = None;
        let mut listening = send.blocking_send(Ok(car::header(&[]).into())).is_ok();
        let made = make(&mut |blocks| {
            for block in blocks {
                for piece in section(&block) {
                    listening &= send.blocking_send(Ok(piece)).is_ok();
                }
                root = Some(block);
            }
            listening
        });
        if made.is_err() {
            // The node must not take a part for the whole.
            let _ = send.blocking_send(Err(std::io::Error::other("sealing failed")));
        }
        made.map(|built| (built, root))
    });
    let stream =
        futures::stream::unfold(receive, |mut receive| async move { Some((receive.recv().await?, receive)) });
    let imported = client.import(stream, false).await;
    let (built, root) = ended(making.await)?;
    imported?;
    if let Some(root) = root.filter(|_| pin) {
        let pieces = [Bytes::from(car::header(&[root.cid]))].into_iter().chain(section(&root));
        let pieces: Vec<_> = pieces.map(Ok).collect();
        client.import(futures::stream::iter(pieces), true).await?;
    }
    Ok(built)
}

fn section(block: &Block) -> [Bytes; 2] {
    [car::section_prefix(&block.cid, block.data.len()).into(), block.data.clone()]
}
