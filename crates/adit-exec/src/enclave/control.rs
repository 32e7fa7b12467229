//! The enclave's life: from `Hello` to the end of the control channel.

use super::{
    Counters, Enclave,
    codes::Codes,
    pool::Pool,
    process::{Keeper, Programs},
    receipts::{EndorseError, Signer},
    remember::Memory,
    session,
};
use crate::engine::RUNTIME;
use adit_model::{AccountId, IdError, NodeId, SignatureError};
use adit_wire::{
    Channel, DecodeError, Inbox, Message,
    control::{FromEnclave, Hello, ToEnclave, VERSION},
};
use parking_lot::{Condvar, Mutex};
use std::{io, sync::Arc, thread, time::Duration};

/// Most sessions, whatever `Hello` says: each is a thread.
const MAX_SESSIONS: usize = 256;

/// How long a new session waits for the end of an old one when there are as many as there may be: the node may have
/// closed one a moment ago.
const SESSION_PATIENCE: Duration = Duration::from_secs(1);

/// Why an enclave ended, other than because its node wanted it to.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("the control channel failed")]
    Io(#[from] io::Error),
    #[error("the node sent a malformed message")]
    Malformed(#[from] DecodeError),
    #[error("the node broke the protocol: {0}")]
    Violation(&'static str),
    #[error(
        "this enclave speaks version {VERSION}, the node speaks version {0}: they are of different builds"
    )]
    Version(u32),
    #[error("the node's identity is malformed")]
    Node(#[from] IdError),
    #[error("no job key could be made")]
    Key(#[from] SignatureError),
    #[error("the node's endorsement was refused")]
    Endorse(#[from] EndorseError),
}

/// Serves a node until it closes the control channel or asks for the end. Then the caller ends the process, at once:
/// the sessions' threads and all workers go with it.
pub fn serve(control: Channel, programs: Programs) -> Result<(), ControlError> {
    let mut inbox = Inbox::new();
    let mut frame = Vec::new();
    let Some((ToEnclave::Hello(hello), _)) = receive(&control, &mut inbox)? else {
        return Err(ControlError::Violation("the first message is not `Hello`"));
    };
    let enclave = match Enclave::start(hello, control, programs) {
        Ok(enclave) => Arc::new(enclave),
        Err((control, error)) => {
            FromEnclave::Refused { detail: error.to_string() }.encode(&mut frame);
            control.send(&frame, &[])?;
            return Err(error);
        }
    };
    let ready = FromEnclave::Ready {
        job_key: enclave.signer.job_key().0,
        runtime: enclave.signer.runtime().to_owned(),
    };
    ready.encode(&mut frame);
    enclave.control.send(&frame, &[])?;

    let places = Arc::new(Places::new((enclave.hello.workers as usize).min(MAX_SESSIONS)));
    while let Some((message, channel)) = receive(&enclave.control, &mut inbox)? {
        match message {
            ToEnclave::Hello(_) => return Err(ControlError::Violation("`Hello` twice")),
            ToEnclave::Endorse { endorsement } => enclave.signer.endorse(&endorsement)?,
            ToEnclave::OpenSession => {
                let Some(channel) = channel else { return Err(ControlError::Violation("no channel")) };
                // Closing the channel, by dropping it, is the refusal. Each session's thread holds `places` once.
                if Arc::strong_count(&places) <= MAX_SESSIONS {
                    open(&enclave, channel, places.clone())?;
                }
            }
            ToEnclave::GetStats => {
                FromEnclave::Stats(enclave.stats()).encode(&mut frame);
                enclave.control.send(&frame, &[])?;
            }
            ToEnclave::Shutdown => break,
        }
    }
    Ok(())
}

/// `None` when the node is gone.
fn receive(
    control: &Channel,
    inbox: &mut Inbox,
) -> Result<Option<(ToEnclave, Option<Channel>)>, ControlError> {
    let Some(mut frame) = control.receive(inbox)? else { return Ok(None) };
    let message = ToEnclave::decode(frame.bytes, frame.descriptors.len())?;
    let channel = frame.descriptors.pop().map(Channel::from_socket).transpose()?;
    Ok(Some((message, channel)))
}

fn open(enclave: &Arc<Enclave>, channel: Channel, places: Arc<Places>) -> io::Result<()> {
    let enclave = enclave.clone();
    // Here, and not in the thread: free places go to sessions in the order in which these were opened.
    let place = Places::take(&places, Duration::ZERO).ok_or(places);
    // A panic in here ends this session, its job and its worker, and nothing else.
    thread::Builder::new().name("session".into()).spawn(move || {
        let place = match place {
            Ok(place) => Some(place),
            Err(places) => Places::take(&places, SESSION_PATIENCE),
        };
        if let Some(place) = place {
            session::serve(&enclave, channel);
            drop(place);
        }
    })?;
    Ok(())
}

/// How many more sessions may run.
struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

/// Given back when dropped.
struct Place(Arc<Places>);

impl Places {
    fn new(free: usize) -> Self {
        Places { free: Mutex::new(free), freed: Condvar::new() }
    }

    fn take(this: &Arc<Self>, patience: Duration) -> Option<Place> {
        let mut free = this.free.lock();
        this.freed.wait_while_for(&mut free, |free| *free == 0, patience);
        *free = free.checked_sub(1)?;
        Some(Place(this.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

impl Enclave {
    /// Makes the job key and everything else that lives as long as the enclave.
    fn start(hello: Hello, control: Channel, programs: Programs) -> Result<Self, (Channel, ControlError)> {
        let made = (|| {
            if hello.version != VERSION {
                return Err(ControlError::Version(hello.version));
            }
            let node = NodeId::from_bytes(&hello.node)?;
            let signer = Signer::new(AccountId(hello.host), node, RUNTIME.to_owned())?;
            let mut pool = None;
            let keeper = Keeper::start(|keeper| {
                let made = Arc::new(Pool::new(
                    keeper.clone(),
                    programs.worker.clone(),
                    hello.workers as usize,
                    hello.output,
                    Duration::from_millis(hello.idle_ms),
                ));
                pool = Some(made.clone());
                Box::new(move |now, starter| {
                    made.tidy(now, |program, profile| starter.launch(program, profile))
                })
            })?;
            let pool = pool.ok_or(ControlError::Violation("no pool"))?;
            Ok((signer, keeper, pool))
        })();
        let (signer, keeper, pool) = match made {
            Ok(made) => made,
            Err(error) => return Err((control, error)),
        };
        Ok(Enclave {
            codes: Codes::new(hello.code_cache),
            memory: Memory::new(hello.remembered),
            hello,
            programs,
            keeper,
            pool,
            signer,
            control: Arc::new(control),
            counters: Counters::default(),
        })
    }
}
