//! `adit node`: the nodes that run jobs, this one included.

use std::collections::BTreeMap;

use adit_api::types::{CountsView, EnclaveStatus, NodeStatus};
use adit_model::NodeId;

use crate::context::Context;
use crate::exit::{Failure, OutputError};
use crate::output::escape::one_line;
use crate::output::{Output, Table, duration, micros, time};

/// Subcommands of `adit node`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Node {
    /// List known nodes that run jobs
    Ls,
    /// Show one of them
    Show {
        /// Its peer id
        node: NodeId,
    },
    /// Show how this node is doing: what it was asked, bid, lost, refused and ran
    Status,
}

/// Shows nodes.
pub(crate) async fn node(context: &Context, command: Node) -> Result<(), Failure> {
    let client = context.client()?;
    let out = &context.out;
    match command {
        Node::Ls => {
            let nodes = client.nodes().await?;
            if out.json() {
                return Ok(out.document(&nodes)?);
            }
            let mut table = Table::new(
                ["node", "rtt", "accepts", "runtime", "state"],
                "No other node is known to run jobs.",
            );
            for node in nodes {
                let state = match (&node.distrusted, node.connected) {
                    (Some(reason), _) => format!("distrusted: {reason}"),
                    (None, true) => "connected".to_owned(),
                    (None, false) => "known".to_owned(),
                };
                let rtt = node.rtt_us.map_or_else(|| "-".to_owned(), micros);
                table.row([node.node.to_string(), rtt, node.accept, node.runtime, state]);
            }
            Ok(table.print(out)?)
        }
        Node::Show { node } => {
            let node = client.node(&node).await?;
            out.either(&node, |out, node| {
                out.line(format!("node        {}", node.node))?;
                out.line(format!("operator    {}", node.operator))?;
                if let Some(kubo) = &node.kubo {
                    out.line(format!("beside      Kubo {}", one_line(kubo)))?;
                }
                out.line(format!("connected   {}", if node.connected { "yes" } else { "no" }))?;
                out.line(format!("rtt         {}", node.rtt_us.map_or_else(|| "-".to_owned(), micros)))?;
                out.line(format!("accepts     {}", one_line(&node.accept)))?;
                out.line(format!("runtime     {}", one_line(&node.runtime)))?;
                out.line(format!("advertised until {}", time(node.expires)))?;
                match &node.distrusted {
                    Some(reason) => out.line(format!("distrusted  {}", one_line(reason))),
                    None => Ok(()),
                }
            })?;
            Ok(())
        }
        Node::Status => {
            let status = client.status().await?;
            out.either(&status, show_status)?;
            Ok(())
        }
    }
}

fn show_status(out: &Output, status: &NodeStatus) -> Result<(), OutputError> {
    out.line(format!("node      {}", status.node))?;
    out.line(format!("account   {}", status.operator))?;
    out.line(format!(
        "network   {}, {} peers, {} other nodes that run jobs",
        one_line(&status.network),
        status.peers,
        status.adit_nodes
    ))?;
    out.line(format!("version   {}, up {}", one_line(&status.version), duration(status.uptime_s)))?;
    for address in &status.listen {
        out.line(format!("listens   {}", one_line(address)))?;
    }
    out.line(format!("accepts   jobs of {}", one_line(&status.accept)))?;
    out.line(format!(
        "jobs      {} running, {} waiting, {} slots",
        status.running, status.queued, status.slots
    ))?;
    out.line(match &status.enclave {
        EnclaveStatus::Up { pid, runtime, restarts } => {
            let whose = pid.map_or_else(|| "a service of its own".to_owned(), |pid| format!("process {pid}"));
            format!("enclave   up ({whose}, {}), restarted {restarts} times", one_line(runtime))
        }
        EnclaveStatus::Starting { reason: None } => "enclave   starting".to_owned(),
        EnclaveStatus::Starting { reason: Some(reason) } => {
            format!("enclave   starting again: {}", one_line(reason))
        }
        EnclaveStatus::Down { reason } => format!("enclave   DOWN: {}", one_line(reason)),
    })?;
    if let Some(kubo) = &status.kubo {
        let reason = kubo.reason.as_deref().map_or_else(String::new, one_line);
        let how = match (kubo.silent_s, &kubo.peer) {
            (Some(silent), _) => format!("DOWN for {}: {reason}", duration(silent)),
            (None, Some(peer)) => format!("in use, signed for this node as {}", one_line(peer)),
            (None, None) => format!("in use, has not signed for this node: {reason}"),
        };
        out.line(format!("content   {}: {how}", one_line(&kubo.name)))?;
    }
    out.line("")?;
    let mut table = Table::new(["", "asked", "bid", "lost", "refused", "run"], "");
    for (window, counts) in [("24 hours", &status.day), ("7 days", &status.week)] {
        let CountsView { asked, bid, lost, refused, run } = counts;
        let sum = |reasons: &BTreeMap<String, u64>| reasons.values().sum::<u64>().to_string();
        table.row([
            window.to_owned(),
            asked.to_string(),
            bid.to_string(),
            sum(lost),
            sum(refused),
            run.to_string(),
        ]);
    }
    table.print(out)?;
    for (what, reasons) in [("lost", &status.week.lost), ("refused", &status.week.refused)] {
        for (reason, times) in reasons {
            out.line(format!("{what} {times}× in 7 days: {}", one_line(reason)))?;
        }
    }
    Ok(())
}
