//! HTTP functions: programs that answer requests, served by this node at its edge.
//!
//! A request comes in at a [`Server`], which finds the function that its path belongs to ([`route`]), takes a worker
//! that has the function's code ([`pool`]) and leads the two through one [`exchange`]: the node speaks HTTP, the worker
//! speaks frames (`adit_wire::http`). What the function asks of others goes through [`outgoing`], which decides by the
//! operator's list and the publisher's, and looks at the address that a name leads to before it connects.
//!
//! What it never does: run guest code, believe a length or a header that a worker made up, follow a redirect, connect
//! to an address that it has not looked at, or wait without a deadline.
//!
//! Start reading at [`exchange`].

mod exchange;
mod head;
mod outgoing;
mod pool;
mod route;
mod serve;

pub use serve::Server;
