//! Advertisements in and out of the swarm: gossip, pushes, and what they tell the peer book.

use std::time::Instant;

use adit_model::{Advertisement, Verified};
use libp2p::{
    PeerId,
    gossipsub::{self, MessageAcceptance, MessageId, PublishError},
};

use super::Task;
use crate::{
    advert::{self, Advert, AdvertError, Outcome, unix_now},
    metrics::Count,
};

impl Task {
    pub(super) fn advertise(&mut self, advert: Verified<Advertisement>) -> Result<(), AdvertError> {
        let advert = self.state.adverts.set_own(advert, unix_now())?;
        self.swarm.behaviour_mut().adverts.push_own();
        self.gossip(&advert);
        Ok(())
    }

    fn gossip(&mut self, advert: &Advert) {
        let topic = self.topic.clone();
        match self.swarm.behaviour_mut().gossip.publish(topic, advert.block().to_vec()) {
            // Alone: whoever connects is told then.
            Ok(_) | Err(PublishError::NoPeersSubscribedToTopic | PublishError::Duplicate) => {}
            Err(error) => tracing::debug!(%error, "cannot gossip an advertisement"),
        }
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source: from, message_id, message } = event else {
            return;
        };
        let considered = self.state.adverts.consider(&message.data, from, unix_now(), Instant::now());
        let verdict = match considered {
            Ok(Outcome::News(advert)) => {
                self.state.metrics.adverts_accepted.one();
                self.heard_of(&advert);
                MessageAcceptance::Accept
            }
            Ok(Outcome::Known | Outcome::Full) => MessageAcceptance::Ignore,
            // Honest peers may pass on what has just expired, or more than we care for.
            Err(AdvertError::Time | AdvertError::TooMany) => MessageAcceptance::Ignore,
            Err(error) => {
                tracing::debug!(%from, %error, "refused an advertisement");
                self.state.metrics.adverts_rejected.one();
                MessageAcceptance::Reject
            }
        };
        self.verdict(&message_id, &from, verdict);
    }

    fn verdict(&mut self, message: &MessageId, from: &PeerId, verdict: MessageAcceptance) {
        self.swarm.behaviour_mut().gossip.report_message_validation_result(message, from, verdict);
    }

    /// News that a peer has handed us are passed on by gossip, as if they had come that way.
    pub(super) fn on_pushed(&mut self, news: Vec<Advert>) {
        for advert in news {
            self.heard_of(&advert);
            self.gossip(&advert);
        }
    }

    fn heard_of(&mut self, advert: &Advert) {
        let peer = advert::peer_of(&advert.body().node);
        let addresses: Vec<_> = advert.body().addresses.iter().filter_map(|a| a.parse().ok()).collect();
        self.learn(peer, addresses);
    }
}
