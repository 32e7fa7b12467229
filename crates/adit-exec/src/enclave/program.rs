//! Getting a job's program: from the cache, or fetched block by block, put together, and compiled in a process of
//! its own.

use super::{
    codes::{Code, CodeKey, CodeKind, Compiled, Lead, Lookup},
    job::{Job, micros},
    link::{FromNode, Link, SessionError, Stop},
    wait,
};
use crate::{
    MAX_CODE,
    fault::{CodeFault, CodeFaultKind},
    worker_wire::{FromCompiler, ToCompiler},
};
use adit_model::Abi;
use adit_unixfs::{block, node::Node};
use adit_wire::{
    Inbox, Message, memory,
    session::{Delivered, Failure, Fault, FromEnclave, MAX_BATCH, MAX_BLOCK, Wanted},
};
use bytes::Bytes;
use cid::Cid;
use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// Deepest tree of blocks that a program's file may be.
const MAX_DEPTH: usize = adit_unixfs::limits::FILE_DEPTH;

/// Most blocks that a program's file may consist of.
const MAX_CODE_BLOCKS: usize = 4096;

/// Longest that compiling may take, whatever the job's own deadline.
const COMPILE_TIME: Duration = Duration::from_secs(30);

/// Longest machine code that is taken from a compiler.
const MAX_MACHINE_CODE: u64 = 512 << 20;

pub(super) enum Program {
    Code(Arc<Code>),
    /// The requester's mistake, in words that are the same on every host.
    Faulty(String),
}

impl Job<'_> {
    /// The job's program, compiled.
    pub(super) fn program(&mut self, key: &CodeKey) -> Result<Program, Stop> {
        loop {
            match self.enclave.codes.look_up(key)? {
                Lookup::Found(compiled) => return self.usable(compiled),
                Lookup::Wait(notice) => self.wait_for(notice.as_fd())?,
                Lookup::Lead(lead) => {
                    // A worker can start on the other core meanwhile.
                    self.enclave.pool.prepare();
                    let compiled = match self.fetch_program(&key.code)? {
                        Ok(wasm) => self.compile(key, &wasm)?,
                        Err(faulty) => return Ok(Program::Faulty(faulty)),
                    };
                    let gone = lead.finish(compiled.clone());
                    let added = matches!(compiled, Compiled::Code(_)).then_some(*key);
                    self.enclave.report_codes(added, &gone);
                    return self.usable(compiled);
                }
            }
        }
    }

    fn usable(&self, compiled: Compiled) -> Result<Program, Stop> {
        match compiled {
            Compiled::Code(code) => Ok(match self.misfit(code.kind) {
                None => Program::Code(code),
                Some(why) => Program::Faulty(why.into()),
            }),
            Compiled::Fault(fault) => Ok(Program::Faulty(fault.detail)),
            Compiled::TooSlow { detail, .. } => Stop::failed(Failure::Refused, detail),
        }
    }

    fn misfit(&self, kind: CodeKind) -> Option<&'static str> {
        match (kind, self.task.abi) {
            (CodeKind::Module, _) if self.function => Some(
                "the code is a core module; an HTTP function is a component that exports wasi:http/incoming-handler",
            ),
            (CodeKind::Module, Abi::WasiCliCommand) => {
                Some("the code is a core module, but the task's abi is wasi:cli/command")
            }
            (CodeKind::Component, Abi::Wasip1) => {
                Some("the code is a component, but the task's abi is wasip1")
            }
            (CodeKind::Module, Abi::Wasip1) | (CodeKind::Component, Abi::WasiCliCommand) => None,
        }
    }

    /// Waits until `event` is readable, or the node ends the job.
    fn wait_for(&mut self, event: BorrowedFd<'_>) -> Result<(), Stop> {
        loop {
            match wait::readable([event, self.link.as_fd()], self.deadline)? {
                [true, _] => return Ok(()),
                [false, true] => self.between_wants()?,
                [false, false] => return Err(Stop::deadline()),
            }
        }
    }

    /// Reads what the node says while nothing is wanted.
    fn between_wants(&mut self) -> Result<(), Stop> {
        match self.link.receive(self.number)? {
            FromNode::Blocks(deliveries, _) => {
                for delivery in deliveries {
                    asked(self.link, delivery.ticket)?;
                }
                Ok(())
            }
            FromNode::Late => Ok(()),
            FromNode::Stored => Err(SessionError::Violation("`Stored` before the job finished").into()),
        }
    }

    /// The bytes of the file with this root; the inner error says why they are no program, whoever asks.
    fn fetch_program(&mut self, root: &Cid) -> Result<Result<Vec<u8>, String>, Stop> {
        let mut pieces = vec![Piece::Block(*root)];
        let mut size = 0;
        for depth in 0.. {
            let missing: Vec<Cid> = pieces.iter().filter_map(Piece::missing).collect();
            if missing.is_empty() {
                break;
            }
            if depth > MAX_DEPTH || pieces.len() > MAX_CODE_BLOCKS {
                return Ok(Err("the code's file has too many blocks, or too deep a tree of them".into()));
            }
            let blocks = self.fetch(&missing)?;
            let mut next = Vec::with_capacity(pieces.len());
            for piece in pieces {
                let Piece::Block(cid) = piece else {
                    next.push(piece);
                    continue;
                };
                let block = &blocks[&cid];
                let file = match Node::parse(&cid, block) {
                    Ok(Node::File(file)) => file,
                    Ok(_) => return Ok(Err("the code is not a file".into())),
                    Err(error) => return Ok(Err(format!("the code is not a file: {error}"))),
                };
                if file.size > MAX_CODE as u64 {
                    return Ok(Err(format!(
                        "the code has {} bytes; at most {MAX_CODE} are taken",
                        file.size
                    )));
                }
                size += file.content.len() as u64;
                if !file.content.is_empty() {
                    next.push(Piece::Content(block.slice_ref(file.content)));
                }
                next.extend(file.children.iter().map(|child| Piece::Block(child.cid)));
            }
            // Shared blocks can make a small tree a long file, so what has come is counted as well.
            if size > MAX_CODE as u64 {
                return Ok(Err(format!("the code has more than the {MAX_CODE} bytes that are taken")));
            }
            pieces = next;
        }
        let mut wasm = Vec::with_capacity(size as usize);
        pieces.iter().for_each(|piece| wasm.extend_from_slice(piece.content()));
        Ok(Ok(wasm))
    }

    /// Fetches and verifies blocks of the program. (What the guest reads goes another way: straight to the worker.)
    fn fetch(&mut self, cids: &[Cid]) -> Result<HashMap<Cid, Bytes>, Stop> {
        let mut blocks = HashMap::new();
        let mut wanted: HashMap<u64, Cid> = HashMap::new();
        let mut wants = Vec::new();
        for cid in cids {
            if blocks.contains_key(cid) || wanted.values().any(|other| other == cid) {
                continue;
            }
            let at_hand = match block::identity_data(cid) {
                Some(data) => Some(Bytes::copy_from_slice(data)),
                None => self.pushed.remove(cid),
            };
            if let Some(bytes) = at_hand {
                self.check(cid, &bytes).map_err(|detail| Stop::Failed(Failure::Host, detail))?;
                blocks.insert(*cid, bytes);
                continue;
            }
            let ticket = self.link.ticket();
            wanted.insert(ticket, *cid);
            wants.push(Wanted { ticket, cid: *cid });
        }
        for batch in wants.chunks(MAX_BATCH) {
            self.link.send(&FromEnclave::Want(batch.to_vec()), &[], self.deadline)?;
        }
        while !wanted.is_empty() {
            if wait::readable([self.link.as_fd()], self.deadline)? == [false] {
                return Err(Stop::deadline());
            }
            let (deliveries, files) = match self.link.receive(self.number)? {
                FromNode::Blocks(deliveries, files) => (deliveries, files),
                FromNode::Late => continue,
                FromNode::Stored => {
                    return Err(SessionError::Violation("`Stored` before the job finished").into());
                }
            };
            for delivery in deliveries {
                let Some(cid) = wanted.remove(&delivery.ticket) else {
                    asked(self.link, delivery.ticket)?;
                    continue;
                };
                let mut bytes = vec![0; delivered_length(&delivery.block)];
                let fetched = self.take(&cid, &delivery.block, &files, &mut bytes);
                fetched.map_err(|(kind, detail)| Stop::Failed(kind, detail))?;
                blocks.insert(cid, bytes.into());
            }
        }
        Ok(blocks)
    }

    /// Brings what the node delivered into `place`, which is of its length, and verifies it there. The error is for
    /// the job that cannot do without the block.
    pub(super) fn take(
        &self,
        cid: &Cid,
        delivered: &Delivered,
        files: &[OwnedFd],
        place: &mut [u8],
    ) -> Result<(), (Failure, String)> {
        match delivered {
            Delivered::Inline(bytes) => place.copy_from_slice(bytes),
            Delivered::File { file, offset, .. } => {
                // There are as many descriptors as the message counts, or it had not been decoded.
                let file = &files[usize::from(*file)];
                memory::read_at(file.as_fd(), place, *offset).map_err(|error| {
                    (
                        Failure::Host,
                        format!("block {cid} could not be read where the node said it is: {error}"),
                    )
                })?;
            }
            Delivered::Missing { fault, detail } => {
                let kind = match fault {
                    Fault::Network => Failure::Unresolvable,
                    Fault::Host => Failure::Host,
                };
                return Err((kind, format!("block {cid}: {detail}")));
            }
        }
        self.check(cid, place).map_err(|detail| (Failure::Host, detail))
    }

    /// The one place where a block is verified.
    pub(super) fn check(&self, cid: &Cid, block: &[u8]) -> Result<(), String> {
        let counters = &self.enclave.counters;
        match block::verify(cid, block) {
            Ok(()) => {
                counters.blocks_verified.fetch_add(1, Ordering::Relaxed);
                counters.bytes_verified.fetch_add(block.len() as u64, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                counters.blocks_refused.fetch_add(1, Ordering::Relaxed);
                Err(format!("the node delivered a wrong block: {error}"))
            }
        }
    }

    /// Has a fresh, jailed process compile.
    fn compile(&mut self, key: &CodeKey, wasm: &[u8]) -> Result<Compiled, Stop> {
        let Some(kind) = kind_of(wasm) else {
            let detail = "the code is not WebAssembly";
            return Ok(Compiled::Fault(CodeFault::new(CodeFaultKind::Invalid, detail)));
        };
        let began = Instant::now();
        let counters = &self.enclave.counters;
        counters.compiled.fetch_add(1, Ordering::Relaxed);
        let compiled = self.run_compiler(key, kind, wasm)?;
        if !matches!(compiled, Compiled::Code(_)) {
            counters.compile_failed.fetch_add(1, Ordering::Relaxed);
        }
        self.stats.compile_us = micros(began);
        Ok(compiled)
    }

    fn run_compiler(&mut self, key: &CodeKey, kind: CodeKind, wasm: &[u8]) -> Result<Compiled, Stop> {
        let failed = |error| Stop::host("starting the compiler", error);
        let program = &self.enclave.programs.compiler;
        // Dropped at the end of this function, which kills it if it still runs.
        let (process, channel) = self.enclave.keeper.launch(program, key.profile).map_err(failed)?;
        let module = memory::sealed(c"module", wasm).map_err(failed)?;
        let mut frame = Vec::new();
        ToCompiler { length: wasm.len() as u64 }.encode(&mut frame);
        channel.send(&frame, &[module.as_fd()]).map_err(failed)?;
        drop(module);

        let give_up = Instant::now() + COMPILE_TIME;
        let too_slow = || {
            let seconds = COMPILE_TIME.as_secs();
            Lead::too_slow(format!(
                "compiling the code takes more memory, or more than the {seconds} s, that this host gives"
            ))
        };
        loop {
            match wait::readable([channel.as_fd(), self.link.as_fd()], self.deadline.min(give_up))? {
                [true, _] => break,
                [false, true] => self.between_wants()?,
                [false, false] if give_up <= self.deadline => return Ok(too_slow()),
                [false, false] => return Err(Stop::deadline()),
            }
        }
        let mut inbox = Inbox::new();
        let Some(answer) = channel.receive(&mut inbox).map_err(Stop::distrust)? else {
            if process.was_ended_by_its_jail() {
                return Err(Stop::host("compiling", "the compiler made a system call that its jail denies"));
            }
            // Without a word: it ran into its limits.
            return Ok(too_slow());
        };
        let message = FromCompiler::decode(answer.bytes, answer.descriptors.len()).map_err(Stop::distrust)?;
        match message {
            FromCompiler::Compiled { length } if length <= MAX_MACHINE_CODE => {
                let mut files = answer.descriptors;
                let Some(file) = files.pop() else { return Err(Stop::distrust("code without a file")) };
                memory::require_sealed(file.as_fd(), length).map_err(Stop::distrust)?;
                Ok(Compiled::Code(Arc::new(Code { file, length, kind })))
            }
            FromCompiler::Compiled { length } => {
                Err(Stop::distrust(format_args!("{length} bytes of machine code")))
            }
            FromCompiler::Refused(fault) => Ok(Compiled::Fault(fault)),
            FromCompiler::Host(detail) => Err(Stop::host("compiling", detail)),
        }
    }
}

/// Part of a program's file, in order.
enum Piece {
    Content(Bytes),
    Block(Cid),
}

impl Piece {
    fn missing(&self) -> Option<Cid> {
        match self {
            Piece::Block(cid) => Some(*cid),
            Piece::Content(_) => None,
        }
    }

    fn content(&self) -> &[u8] {
        match self {
            Piece::Content(bytes) => bytes,
            Piece::Block(_) => &[],
        }
    }
}

/// Bytes that a delivery will take.
pub(super) fn delivered_length(delivered: &Delivered) -> usize {
    match delivered {
        Delivered::Inline(bytes) => bytes.len(),
        Delivered::File { length, .. } => (*length as usize).min(MAX_BLOCK),
        Delivered::Missing { .. } => 0,
    }
}

/// A delivery for a want that nobody waits for any more is late; one for no want at all is a violation.
pub(super) fn asked(link: &Link, ticket: u64) -> Result<(), Stop> {
    if link.is_past(ticket) {
        Ok(())
    } else {
        Err(SessionError::Violation("a block that nobody asked for").into())
    }
}

/// By the eight bytes that every WebAssembly binary starts with.
fn kind_of(wasm: &[u8]) -> Option<CodeKind> {
    match wasm.strip_prefix(b"\0asm")?.first_chunk()? {
        [1, 0, 0, 0] => Some(CodeKind::Module),
        [0x0d, 0, 1, 0] => Some(CodeKind::Component),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_components_are_told_apart() {
        assert_eq!(kind_of(b"\0asm\x01\0\0\0rest"), Some(CodeKind::Module));
        assert_eq!(kind_of(b"\0asm\x0d\0\x01\0"), Some(CodeKind::Component));
        for other in [&b""[..], b"\0asm", b"\0asm\x02\0\0\0", b"\x7fELF\x01\0\0\0"] {
            assert_eq!(kind_of(other), None);
        }
    }
}
