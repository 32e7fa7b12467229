//! Scopes: what a token is good for, and the proof that a request carried a good one.

use super::TokenView;
use crate::error::{ApiError, Code};
use crate::routes::App;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::sync::Arc;
use utoipa::ToSchema;

/// What a token allows. Each scope includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at content, jobs and the node.
    Read,
    /// Add and pin content, and run jobs that cost nothing.
    Run,
    /// Run jobs that cost something. (Nothing does yet.)
    Spend,
    /// Change settings, collect garbage, make tokens.
    Admin,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Run => "run",
            Self::Spend => "spend",
            Self::Admin => "admin",
        })
    }
}

impl std::str::FromStr for Scope {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, ApiError> {
        [Self::Read, Self::Run, Self::Spend, Self::Admin]
            .into_iter()
            .find(|scope| scope.to_string() == text)
            .ok_or_else(|| ApiError::new(Code::BadRequest, "a scope is one of read, run, spend, admin"))
    }
}

/// A scope as a type, so that a handler states in its signature what it needs.
pub trait Needs: Send + Sync + 'static {
    const SCOPE: Scope;
}

macro_rules! needs {
    ($($marker:ident)*) => { $(
        #[doc = concat!("Needs the scope `", stringify!($marker), "`.")]
        #[derive(Debug, Clone, Copy)]
        pub enum $marker {}
        impl Needs for $marker { const SCOPE: Scope = Scope::$marker; }
    )* };
}

/// The markers for [`Allowed`]. `Spend` joins them when a route costs something.
pub mod needs {
    use super::{Needs, Scope};
    needs!(Read Run Admin);
}

/// The proof that the caller showed a token with the scope `N` or a greater one.
#[derive(Debug)]
pub struct Allowed<N: Needs> {
    /// The token, for logs. `None` for the node's own local token.
    pub token: Option<Arc<TokenView>>,
    needs: PhantomData<N>,
}

impl<N: Needs> FromRequestParts<Arc<App>> for Allowed<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let token = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| {
                ApiError::new(Code::Unauthorized, "this needs a token")
                    .hint("send `Authorization: Bearer TOKEN`; the node's own token is in api.token of its repository")
            })?;
        let (scope, token) = app.tokens.check(token.trim()).ok_or_else(|| {
            ApiError::new(Code::Unauthorized, "the token is not known here, or was revoked")
        })?;
        if scope < N::SCOPE {
            let message = format!("this needs a token of scope `{}`, this one has `{scope}`", N::SCOPE);
            return Err(ApiError::new(Code::ForbiddenScope, message));
        }
        Ok(Self { token, needs: PhantomData })
    }
}
