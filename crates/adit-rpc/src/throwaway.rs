//! A store that forgets: for `add --only-hash`.

use adit_store::{BlockStore, Location, StoreError};
use adit_unixfs::Block;
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

pub(crate) struct Throwaway;

#[async_trait]
impl BlockStore for Throwaway {
    async fn get(&self, _: &Cid) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    async fn has(&self, _: &Cid) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn size(&self, _: &Cid) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn put(&self, _: Vec<Block>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn locate(&self, _: &Cid) -> Result<Option<Location>, StoreError> {
        Ok(None)
    }

    async fn delete(&self, _: &Cid) -> Result<(), StoreError> {
        Ok(())
    }

    fn list(&self) -> BoxStream<'_, Result<(Cid, u64), StoreError>> {
        stream::empty().boxed()
    }
}
