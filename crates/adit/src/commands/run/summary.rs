//! The one line on stderr after a job, and the table of a dry run.

use adit_api::types::{JobView, Plan};

use crate::exit::Failure;
use crate::output::{Output, Table, bytes, count, escape, micros};

/// Where it ran, why there, how long, what it used, what moved, and the receipt's name.
pub(crate) fn line(job: &JobView) -> String {
    let stats = &job.stats;
    let mut parts = Vec::new();
    let place = job.host.map_or_else(|| "nowhere".to_owned(), |host| format!("at {host}"));
    let verb = if stats.remembered { "remembered" } else { "ran" };
    parts.push(match &job.why {
        Some(why) => format!("{verb} {place} ({})", escape::one_line(why)),
        None => format!("{verb} {place}"),
    });
    parts.push(format!("{} in all, {} running", micros(stats.total_us), micros(stats.run_us)));
    if stats.compile_us > 0 {
        parts.push(format!("{} compiling", micros(stats.compile_us)));
    }
    if stats.fuel > 0 {
        parts.push(format!("fuel {}", count(stats.fuel)));
    }
    parts.push(format!("read {}", bytes(stats.bytes_read)));
    parts.push(format!("moved {}", bytes(stats.bytes_moved)));
    if let Some(receipt) = &job.receipt {
        parts.push(format!("receipt {receipt}"));
    }
    parts.join(" · ")
}

/// A dry run's candidates.
pub(crate) fn plan(out: &Output, plan: &Plan) -> Result<(), Failure> {
    if out.json() {
        return Ok(out.document(plan)?);
    }
    let mut table = Table::new(["node", "cost", "rtt", "answer"], "No node could be asked.");
    for candidate in &plan.candidates {
        let answer = match (&candidate.refused, candidate.local) {
            (Some(reason), _) => format!("refused: {reason}"),
            (None, true) => "would run it (this node)".to_owned(),
            (None, false) => "would run it".to_owned(),
        };
        table.row([
            candidate.node.to_string(),
            candidate.cost_us.map_or_else(|| "-".to_owned(), micros),
            if candidate.local { "-".to_owned() } else { micros(candidate.rtt_us) },
            answer,
        ]);
    }
    table.print(out)?;
    out.line(escape::one_line(&plan.why))?;
    out.note(format!("task {}", plan.task));
    Ok(())
}
