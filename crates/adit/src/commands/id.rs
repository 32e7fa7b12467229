//! `adit id`.

use crate::context::Context;
use crate::exit::Failure;
use crate::output::escape::one_line;

/// Shows who the node is.
pub(crate) async fn id(context: &Context) -> Result<(), Failure> {
    let id = context.client()?.id().await?;
    context.out.either(&id, |out, id| {
        out.line(format!("node      {}", id.node))?;
        out.line(format!("account   {}", id.operator))?;
        out.line(format!("network   {}", one_line(&id.network)))?;
        out.line(format!("agent     {}", one_line(&id.agent)))?;
        id.addresses.iter().try_for_each(|address| out.line(format!("address   {}", one_line(address))))
    })?;
    Ok(())
}
