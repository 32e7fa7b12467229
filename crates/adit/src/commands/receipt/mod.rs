//! `adit receipt`: shows and checks the signed receipts of jobs.
//!
//! Checking happens in this process, never at the node: a receipt is evidence against nodes too. A file is
//! checked without any node at all.

mod proof;

use std::path::Path;

use adit_api::client::Client;
use adit_unixfs::block::Block;
use cid::Cid;

use crate::context::Context;
use crate::exit::{Exit, Failure, OutputError};
use crate::output::escape::one_line;
use crate::output::{Output, time};
use proof::{Proof, Report};

/// Subcommands of `adit receipt`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Receipt {
    /// Show a receipt
    Show {
        /// CID of a receipt, or a file that holds one (its block, or a CAR)
        #[arg(value_name = "FILE|CID")]
        receipt: String,
    },
    /// Check a receipt's signatures, and that job, outcome and receipt fit; a FILE is checked offline
    Verify {
        /// CID of a receipt, or a file that holds one (its block, or a CAR as `adit dag export` writes it)
        #[arg(value_name = "FILE|CID")]
        receipt: String,
    },
}

/// Shows or checks a receipt. A receipt that does not hold ends `verify` with 5.
pub(crate) async fn receipt(context: &Context, command: Receipt) -> Result<(), Failure> {
    let (Receipt::Show { receipt: name } | Receipt::Verify { receipt: name }) = &command;
    let proof = match name.parse::<Cid>() {
        Ok(cid) => fetch(&context.client()?, cid).await?,
        Err(_) => read(Path::new(name))?,
    };
    let report = proof.report();
    context.out.either(&report, show)?;
    match (&command, &report.problem) {
        (Receipt::Verify { .. }, Some(problem)) => {
            Err(Failure::new(Exit::TrustRefused, format!("the receipt does not hold: {problem}")))
        }
        _ => Ok(()),
    }
}

/// The receipt and the blocks it names, as far as the node has them.
async fn fetch(client: &Client, cid: Cid) -> Result<Proof, Failure> {
    // The client compares every block with its CID.
    let mut proof = Proof::new(Block { cid, data: client.block(&cid).await? })?;
    for cid in proof.names() {
        // An absent block leaves its check undone, and the report says so.
        if let Ok(data) = client.block(&cid).await {
            proof.add(&Block { cid, data });
        }
    }
    Ok(proof)
}

/// Longest file that is looked at: an envelope, or a CAR with all blocks of a job's records.
const MAX_FILE: u64 = 64 << 20;

fn read(path: &Path) -> Result<Proof, Failure> {
    let failed = |error: std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        Failure::because(exit, format!("{} is no CID and cannot be read as a file", path.display()), &error)
    };
    let len = std::fs::metadata(path).map_err(failed)?.len();
    if len > MAX_FILE {
        return Err(Failure::new(Exit::Usage, format!("{} is too long to be a receipt", path.display())));
    }
    Proof::from_file(&std::fs::read(path).map_err(failed)?)
}

fn show(out: &Output, report: &Report) -> Result<(), OutputError> {
    out.line(format!("receipt     {}", report.cid))?;
    out.line(format!("task        {}", report.task))?;
    out.line(format!("invocation  {}", report.invocation))?;
    out.line(format!("outcome     {}", report.outcome))?;
    if let Some(issuer) = &report.issuer {
        out.line(format!("asked by    {issuer}"))?;
    }
    out.line(format!("host        {}", report.host))?;
    out.line(format!("node        {}", report.node))?;
    out.line(format!("time        {} (by the host's clock)", time(report.time)))?;
    out.line(format!("runtime     {}", one_line(&report.runtime)))?;
    out.line(format!("evidence    {}", report.evidence))?;
    for check in &report.checks {
        let mark = if check.done { "holds   " } else { "not checked" };
        out.line(format!("{mark:<11} {}", check.what))?;
    }
    match &report.problem {
        Some(problem) => out.line(format!("DOES NOT HOLD: {}", one_line(problem))),
        None => out.line(report.verdict()),
    }
}
