//! Bodies that are sent to Kubo: one part of a form, and a CAR within it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use adit_store::{BackendError, BlockStream};
use adit_unixfs::car::{header, section_prefix};
use bytes::Bytes;
use cid::Cid;
use data_encoding::HEXLOWER;
use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Response,
    body::{Frame, Incoming},
    header::HeaderValue,
};

use crate::client::{Cause, Client, Moved, SendBody};

/// A form with one file. Its boundary can't be guessed, so nobody's content can end the part.
fn form(content: impl Stream<Item = Result<Bytes, Cause>> + Send + 'static) -> (HeaderValue, SendBody) {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system gives random bytes");
    let boundary = HEXLOWER.encode(&random);
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let pieces =
        stream::iter([Ok(Bytes::from(head))]).chain(content).chain(stream::iter([Ok(Bytes::from(tail))]));
    let kind = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"));
    let body = StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync();
    (kind.expect("hexadecimal digits fit into a header"), body)
}

/// A form with one small file.
pub(crate) fn file(content: Bytes) -> (HeaderValue, SendBody) {
    form(stream::iter([Ok(content)]))
}

/// Sends blocks as a CAR. Gives the answer and how many blocks were sent.
///
/// # Errors
/// Where nothing moves for the client's patience, neither there nor here.
pub(crate) async fn car(
    client: &Arc<Client>,
    command: &str,
    root: &Cid,
    blocks: BlockStream,
) -> Result<(Response<Incoming>, u64), BackendError> {
    client.expect_it()?;
    let begun = Instant::now();
    let (moved, sent) = (Arc::new(Moved::now()), Arc::new(AtomicU64::new(0)));
    let failed = Arc::new(parking_lot::Mutex::new(None));
    let sections = {
        let (moved, sent, failed) = (moved.clone(), sent.clone(), failed.clone());
        blocks.flat_map(move |block| {
            moved.again();
            stream::iter(match block {
                Ok(block) => {
                    sent.fetch_add(1, Ordering::Relaxed);
                    vec![Ok(section_prefix(&block.cid, block.data.len()).into()), Ok(block.data)]
                }
                Err(error) => {
                    *failed.lock() = Some(error.to_string());
                    vec![Err(Cause::from(error))]
                }
            })
        })
    };
    let content = stream::iter([Ok(Bytes::from(header(&[*root])))]).chain(sections);
    let mut request = std::pin::pin!(client.send(command, Some(form(content))));
    let answer = loop {
        let until = moved.since() + client.patience;
        tokio::select! {
            answer = &mut request => break answer,
            () = tokio::time::sleep_until(until.into()) => if moved.since() + client.patience <= until {
                let words = format!("took nothing and said nothing for {} s", client.patience.as_secs_f32());
                break Err(client.error(adit_store::BackendFailure::Unreachable, words));
            },
        }
    };
    // What broke off the body here is no failure of Kubo's.
    if let Some(reason) = failed.lock().take() {
        let words = format!("could not be given a block: {reason}");
        return Err(client.error(adit_store::BackendFailure::Refused, words));
    }
    client.note(begun, &answer);
    Ok((answer?, sent.load(Ordering::Relaxed)))
}
