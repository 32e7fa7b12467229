//! Whether a Kubo's word for a node holds.

use adit_model::{Advertisement, Alias, NodeId};
use libp2p::{PeerId, identity::PublicKey};

/// Why an alias is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    /// The key cannot be read, or is of a kind that is not checked.
    #[error("the alias's key is neither Ed25519 nor RSA")]
    Key,
    /// The key is another peer's.
    #[error("the alias's key is not that of its peer")]
    Peer,
    /// It was signed by somebody else, or for another node, network or time.
    #[error("the alias's signature does not hold")]
    Signature,
}

/// The peer that the advertisement's node stands beside, if that peer itself says so.
///
/// The advertisement's own signature and times are somebody else's to check; its form has bounded all lengths.
pub(crate) fn verify_alias(advert: &Advertisement) -> Result<Option<PeerId>, AliasError> {
    let Some(alias) = &advert.alias else { return Ok(None) };
    check_alias(alias, advert.node, &advert.network).map(Some)
}

/// Checks that the alias's peer itself signed it for this node of this network. Its times are not looked at.
pub fn check_alias(alias: &Alias, node: NodeId, network: &str) -> Result<PeerId, AliasError> {
    let encoded = alias.peer.inline_key().or(alias.key.as_deref()).ok_or(AliasError::Key)?;
    let key = PublicKey::try_decode_protobuf(encoded).map_err(|_| AliasError::Key)?;
    let peer = key.to_peer_id();
    if peer.to_bytes() != alias.peer.as_bytes() {
        return Err(AliasError::Peer);
    }
    match key.verify(&alias.signed_bytes(node, network), &alias.sig) {
        true => Ok(peer),
        false => Err(AliasError::Signature),
    }
}
