//! Who may call what: Host and Origin of the request, the token it carries, and the scope that the token has.

mod guard;
mod scope;
mod tokens;

pub use guard::Guard;
pub use scope::{Allowed, Needs, Scope, needs};
pub use tokens::{IssuedToken, TokenError, TokenView, Tokens};
