//! CIDs that the rest of the network gives to the same content.

use adit_unixfs::Profile;
use adit_unixfs::block::Block;
use adit_unixfs::build::{DirectoryBuilder, FileBuilder};
use adit_unixfs::data::Metadata;
use bytes::Bytes;

fn file(profile: Profile, content: impl Into<Bytes>) -> String {
    let mut blocks: Vec<Block> = Vec::new();
    let mut builder = FileBuilder::new(profile, Metadata::NONE);
    builder.push(content.into(), &mut blocks);
    let built = builder.finish(&mut blocks);
    assert_eq!(blocks.last().unwrap().cid, built.cid);
    built.cid.to_string()
}

fn empty_directory(profile: Profile) -> String {
    DirectoryBuilder::new(profile, Metadata::NONE).finish(&mut Vec::new()).unwrap().cid.to_string()
}

#[test]
fn the_empty_file_and_directory_have_their_famous_names() {
    assert_eq!(file(Profile::Legacy, ""), "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH");
    assert_eq!(
        file(Profile::UnixfsV1_2025, ""),
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    );
    assert_eq!(empty_directory(Profile::Legacy), "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn");
    assert_eq!(
        empty_directory(Profile::UnixfsV1_2025),
        "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    );
}

#[test]
fn hello_world_has_its_famous_names() {
    assert_eq!(file(Profile::Legacy, "hello world\n"), "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o");
    assert_eq!(file(Profile::Legacy, "Hello World"), "QmUXTtySmd7LD4p6RG6rZW6RuUuPZXTtNMmRQ6DSQo3aMw");
    assert_eq!(
        file(Profile::UnixfsV1_2025, "hello world"),
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    );
}
