//! The transports: TCP, QUIC, WebSocket and relayed connections, each counted per peer. With a swarm key every
//! connection but QUIC's is encrypted with it first, and there is no QUIC.

use std::{sync::Arc, time::Duration};

use futures::{AsyncRead, AsyncWrite, future::Either};
use libp2p::{
    PeerId, Transport,
    core::{
        muxing::{StreamMuxer, StreamMuxerBox},
        transport::{Boxed, OptionalTransport},
        upgrade::Version,
    },
    dns, noise,
    pnet::{PnetConfig, PreSharedKey},
    quic, relay, tcp, websocket, yamux,
};

use crate::{
    Identity, SwarmKey,
    error::StartError,
    traffic::{CountingMuxer, Traffic},
};

/// With 4093 streams yamux keeps every stream's window at or below 1 MiB. A window that grows
/// beyond makes js-yamux send frames that rust-yamux answers by closing the connection.
const YAMUX_STREAMS: usize = 4093;
/// A dial or an upgrade that takes longer has failed.
const SETUP_TIMEOUT: Duration = Duration::from_secs(15);
/// A killed process says goodbye over TCP, where the kernel does it, but not over QUIC: this is
/// how long its streams seem alive. A keep-alive is one small packet each way.
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(5);
const QUIC_IDLE_MS: u32 = 12_000;
/// Unread bytes a QUIC peer may send us, per stream and per connection: what a slow reader costs.
const QUIC_STREAM_WINDOW: u32 = 6 << 20;
const QUIC_CONNECTION_WINDOW: u32 = 12 << 20;

/// The combined transport, and the relay client's behaviour that belongs to it.
pub(crate) fn build(
    identity: &Identity,
    key: Option<&SwarmKey>,
    traffic: &Arc<Traffic>,
) -> Result<(Boxed<(PeerId, StreamMuxerBox)>, relay::client::Behaviour), StartError> {
    let key = key.map(SwarmKey::key);
    let failed = |transport| {
        move |source: Box<dyn std::error::Error + Send + Sync>| StartError::Transport { transport, source }
    };
    let security = noise::Config::new(identity.keypair()).map_err(|e| failed("noise")(e.into()))?;
    let mut multiplexer = yamux::Config::default();
    multiplexer.set_max_num_streams(YAMUX_STREAMS);

    let tcp_config = tcp::Config::default().nodelay(true);
    let tcp = private(tcp::tokio::Transport::new(tcp_config.clone()), key)
        .upgrade(Version::V1Lazy)
        .authenticate(security.clone())
        .multiplex(multiplexer.clone())
        .timeout(SETUP_TIMEOUT)
        .map(counted(traffic));

    let mut quic_config = quic::Config::new(identity.keypair());
    quic_config.keep_alive_interval = QUIC_KEEP_ALIVE;
    quic_config.max_idle_timeout = QUIC_IDLE_MS;
    quic_config.max_stream_data = QUIC_STREAM_WINDOW;
    quic_config.max_connection_data = QUIC_CONNECTION_WINDOW;
    quic_config.max_concurrent_stream_limit = 1024;
    let quic = match key {
        None => OptionalTransport::some(quic::tokio::Transport::new(quic_config).map(counted(traffic))),
        Some(_) => OptionalTransport::none(),
    };

    // WebSocket resolves names by itself, since the host name is part of the request.
    let resolved = dns::tokio::Transport::system(tcp::tokio::Transport::new(tcp_config))
        .map_err(|e| failed("dns")(e.into()))?;
    let websocket = private(websocket::Config::new(resolved), key)
        .upgrade(Version::V1Lazy)
        .authenticate(security.clone())
        .multiplex(multiplexer.clone())
        .timeout(SETUP_TIMEOUT)
        .map(counted(traffic));

    let (relay_transport, relay_client) = relay::client::new(identity.peer_id());
    let relayed = private(relay_transport, key)
        .upgrade(Version::V1Lazy)
        .authenticate(security)
        .multiplex(multiplexer)
        .timeout(SETUP_TIMEOUT)
        .map(counted(traffic));

    let direct = dns::tokio::Transport::system(quic.or_transport(tcp).map(|either, _| either.into_inner()))
        .map_err(|e| failed("dns")(e.into()))?;
    // The WebSocket transport comes before plain TCP, which would take `/tcp/…/ws` for its own.
    let all = relayed
        .or_transport(websocket)
        .map(|either, _| either.into_inner())
        .or_transport(direct)
        .map(|either, _| either.into_inner())
        .boxed();
    Ok((all, relay_client))
}

/// A transport whose connections are encrypted with the key, if there is one, before anything else.
fn private<T>(
    transport: T,
    key: Option<PreSharedKey>,
) -> impl Transport<
    Output = impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Error = impl Send + Sync + 'static,
    Dial = impl Send,
    ListenerUpgrade = impl Send,
> + Send
+ Unpin
where
    T: Transport + Send + Unpin,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
{
    transport.and_then(move |socket, _| async move {
        match key {
            None => Ok(Either::Left(socket)),
            Some(key) => PnetConfig::new(key).handshake(socket).await.map(Either::Right),
        }
    })
}

fn counted<M, P>(
    traffic: &Arc<Traffic>,
) -> impl FnOnce((PeerId, M), P) -> (PeerId, StreamMuxerBox) + Clone + use<M, P>
where
    M: StreamMuxer + Unpin + Send + 'static,
    M::Substream: Unpin + Send + 'static,
    M::Error: Send + Sync + 'static,
{
    let traffic = Arc::clone(traffic);
    move |(peer, muxer), _| {
        let muxer = CountingMuxer::new(muxer, traffic.of(peer), traffic);
        (peer, StreamMuxerBox::new(muxer))
    }
}
