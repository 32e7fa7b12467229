//! The API over real connections: a served router, its own client, a repository on disk, and a stand-in for the node.

mod access;
mod content;
mod document;
mod jobs;
mod stand_in;
