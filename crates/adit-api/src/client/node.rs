//! The node, its repository and its settings.

use super::{Client, ClientError, empty, encode};
use crate::access::{IssuedToken, Scope, TokenView};
use crate::types::{
    Check, Collected, ConnectBody, Drained, FunctionView, IdView, IssueBody, KeyView, Located, NewKeyBody,
    NodeStatus, NodeView, PeerView, PinView, Pinned, ProvideBody, Provided, PublishBody, PublishFunctionBody,
    PublishedName, RepoView, ResolvedName, SetBody, SetReply, SettingView, Verified,
};
use adit_model::NodeId;
use axum::http::Method;
use cid::Cid;

impl Client {
    /// Whether the node can take requests.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.send(Method::GET, "/readyz", &[], empty()).await.map(drop)
    }

    /// Who the node is.
    pub async fn id(&self) -> Result<IdView, ClientError> {
        self.fetch(Method::GET, "/api/v1/id").await
    }

    /// How the node is.
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        self.fetch(Method::GET, "/api/v1/node/status").await
    }

    /// Nodes known to run Adit.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        self.fetch(Method::GET, "/api/v1/nodes").await
    }

    /// One of them.
    pub async fn node(&self, node: &NodeId) -> Result<NodeView, ClientError> {
        self.fetch(Method::GET, &format!("/api/v1/nodes/{node}")).await
    }

    /// What could be wrong.
    pub async fn doctor(&self) -> Result<Vec<Check>, ClientError> {
        self.fetch(Method::GET, "/api/v1/doctor").await
    }

    /// Has it take no new jobs; gives how many have not ended.
    pub async fn drain(&self) -> Result<Drained, ClientError> {
        self.fetch(Method::POST, "/api/v1/drain").await
    }

    /// Connected peers.
    pub async fn peers(&self) -> Result<Vec<PeerView>, ClientError> {
        self.fetch(Method::GET, "/api/v1/swarm/peers").await
    }

    /// Connects to a multiaddress; gives the peer id.
    pub async fn connect(&self, address: &str) -> Result<String, ClientError> {
        let body = ConnectBody { address: address.to_owned() };
        self.exchange(Method::POST, "/api/v1/swarm/connect", &body).await
    }

    /// Peers that announced this content.
    pub async fn find_providers(&self, cid: &Cid, num: Option<u32>) -> Result<Vec<Located>, ClientError> {
        let query = super::query(&[("num", num.map(|num| num.to_string()))]);
        self.fetch(Method::GET, &format!("/api/v1/routing/providers/{cid}{query}")).await
    }

    /// Where a peer is.
    pub async fn find_peer(&self, peer: &str) -> Result<Located, ClientError> {
        self.fetch(Method::GET, &format!("/api/v1/routing/peers/{}", encode(peer))).await
    }

    /// Announces content that the node has.
    pub async fn provide(&self, cid: &Cid) -> Result<Provided, ClientError> {
        let body = ProvideBody { cid: cid.to_string() };
        self.exchange(Method::POST, "/api/v1/routing/provide", &body).await
    }

    /// Publishes a path under one of the node's keys.
    pub async fn publish_name(&self, body: &PublishBody) -> Result<PublishedName, ClientError> {
        self.exchange(Method::POST, "/api/v1/name/publish", body).await
    }

    /// What a name stands for.
    pub async fn resolve_name(&self, name: &str, one_step: bool) -> Result<ResolvedName, ClientError> {
        let name = super::encode_path(name);
        self.fetch(Method::GET, &format!("/api/v1/name/resolve/{name}?one_step={one_step}")).await
    }

    /// Serves a program by HTTP.
    pub async fn publish_function(&self, body: &PublishFunctionBody) -> Result<FunctionView, ClientError> {
        self.exchange(Method::POST, "/api/v1/functions", body).await
    }

    /// What is served by HTTP.
    pub async fn functions(&self) -> Result<Vec<FunctionView>, ClientError> {
        self.fetch(Method::GET, "/api/v1/functions").await
    }

    /// Serves a program no more.
    pub async fn unpublish_function(&self, path: &str) -> Result<FunctionView, ClientError> {
        let query = super::query(&[("path", Some(path.to_owned()))]);
        self.fetch(Method::DELETE, &format!("/api/v1/functions{query}")).await
    }

    /// The node's keys for names.
    pub async fn keys(&self) -> Result<Vec<KeyView>, ClientError> {
        self.fetch(Method::GET, "/api/v1/keys").await
    }

    /// Makes a key.
    pub async fn new_key(&self, key: &str) -> Result<KeyView, ClientError> {
        self.exchange(Method::POST, "/api/v1/keys", &NewKeyBody { key: key.to_owned() }).await
    }

    /// All settings.
    pub async fn settings(&self) -> Result<Vec<SettingView>, ClientError> {
        self.fetch(Method::GET, "/api/v1/config").await
    }

    /// One setting.
    pub async fn setting(&self, key: &str) -> Result<SettingView, ClientError> {
        self.fetch(Method::GET, &format!("/api/v1/config/{}", encode(key))).await
    }

    /// Changes a setting.
    pub async fn set(&self, key: &str, value: &str) -> Result<SetReply, ClientError> {
        let body = SetBody { value: value.to_owned() };
        self.exchange(Method::PUT, &format!("/api/v1/config/{}", encode(key)), &body).await
    }

    /// Pins.
    pub async fn pins(&self) -> Result<Vec<PinView>, ClientError> {
        self.fetch(Method::GET, "/api/v1/pins").await
    }

    /// The pins of one root, and where its copies are.
    pub async fn pins_of(&self, cid: &Cid) -> Result<Vec<PinView>, ClientError> {
        self.fetch(Method::GET, &format!("/api/v1/pins/{cid}")).await
    }

    /// Keeps a root and everything below it, fetching what is missing; with `replicas`, in that many copies.
    pub async fn pin(
        &self,
        cid: &Cid,
        name: Option<&str>,
        replicas: Option<u32>,
    ) -> Result<Pinned, ClientError> {
        let query = super::query(&[
            ("name", name.map(str::to_owned)),
            ("replicas", replicas.map(|copies| copies.to_string())),
        ]);
        self.fetch(Method::PUT, &format!("/api/v1/pins/{cid}{query}")).await
    }

    /// Removes the pin of this name, or all pins of a root; how many there were.
    pub async fn unpin(&self, cid: &Cid, name: Option<&str>) -> Result<usize, ClientError> {
        let query = super::query(&[("name", name.map(str::to_owned))]);
        self.fetch(Method::DELETE, &format!("/api/v1/pins/{cid}{query}")).await
    }

    /// How full the repository is.
    pub async fn repo(&self) -> Result<RepoView, ClientError> {
        self.fetch(Method::GET, "/api/v1/repo").await
    }

    /// Removes what nothing keeps.
    pub async fn gc(&self) -> Result<Collected, ClientError> {
        self.fetch(Method::POST, "/api/v1/repo/gc").await
    }

    /// Looks at every block.
    pub async fn repo_verify(&self, drop_corrupt: bool) -> Result<Verified, ClientError> {
        self.fetch(Method::POST, &format!("/api/v1/repo/verify?drop_corrupt={drop_corrupt}")).await
    }

    /// Tokens, without the tokens themselves.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        self.fetch(Method::GET, "/api/v1/tokens").await
    }

    /// Makes a token.
    pub async fn issue_token(&self, name: &str, scope: Scope) -> Result<IssuedToken, ClientError> {
        let body = IssueBody { name: name.to_owned(), scope };
        self.exchange(Method::POST, "/api/v1/tokens", &body).await
    }

    /// Revokes a token.
    pub async fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        self.send(Method::DELETE, &format!("/api/v1/tokens/{}", encode(id)), &[], empty()).await.map(drop)
    }
}
