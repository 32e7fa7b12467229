//! What hostile sealers could write, and what somebody on the way could make of it: each refused, by name.

use adit_seal::age::{
    FileKey, Header, HeaderError, Identity, MAX_HEADER, MAX_STANZAS, Opener, PayloadError, PayloadNonce,
    SEALED_CHUNK, Sealer,
};
use adit_seal::tree::{MAX_ENTRIES, MAX_MANIFEST, Manifest, ManifestError, PACK, padded};
use adit_seal::{OsRandom, Random};
use data_encoding::BASE64_NOPAD;

const INTRO: &str = "age-encryption.org/v1\n";
const MAC: &str = "--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";

/// What reading a header gives that is made of these parts.
fn header(parts: &[&str]) -> HeaderError {
    match Header::parse(parts.concat().as_bytes()) {
        Err(error) => error,
        Ok(read) => panic!("read: {read:?}"),
    }
}

#[test]
fn a_header_without_an_end() {
    let endless = "x".repeat(MAX_HEADER);
    assert_eq!(header(&[INTRO, "-> X25519 ", &endless]), HeaderError::TooLong);
}

#[test]
fn a_header_of_more_recipients_than_are_tried() {
    let many = "-> a\n\n".repeat(MAX_STANZAS + 1);
    assert_eq!(header(&[INTRO, &many, MAC]), HeaderError::TooManyStanzas);
}

#[test]
fn a_stanza_whose_body_does_not_end() {
    let lines = format!("{}\n", "A".repeat(64)).repeat(200);
    assert!(matches!(
        header(&[INTRO, "-> a\n", &lines]),
        HeaderError::Malformed("a stanza that is too long")
    ));
}

#[test]
fn a_stanza_of_too_many_arguments() {
    let words = " a".repeat(5000);
    assert!(matches!(
        header(&[INTRO, "-> a", &words, "\n\n", MAC]),
        HeaderError::Malformed("a stanza of too many words")
    ));
}

#[test]
fn a_header_of_another_version() {
    assert_eq!(header(&["age-encryption.org/v2\n", "-> a\n\n", MAC]), HeaderError::NotAge);
}

#[test]
fn an_armoured_file() {
    assert_eq!(header(&["-----BEGIN AGE ENCRYPTED FILE-----\n"]), HeaderError::NotAge);
}

#[test]
fn a_header_that_names_nobody() {
    assert!(matches!(header(&[INTRO, MAC]), HeaderError::Malformed(_)));
}

#[test]
fn a_header_with_a_control_character() {
    assert!(matches!(header(&[INTRO, "-> a \x1b[2J\n\n", MAC]), HeaderError::Malformed(_)));
}

#[test]
fn a_header_with_a_passphrase_beside_a_recipient() {
    assert!(matches!(header(&[INTRO, "-> scrypt a 1\n\n-> a\n\n", MAC]), HeaderError::Malformed(_)));
}

#[test]
fn a_wrapped_key_of_another_length() {
    let share = BASE64_NOPAD.encode(&[9; 32]);
    assert!(matches!(header(&[INTRO, "-> X25519 ", &share, "\nAAAA\n", MAC]), HeaderError::Malformed(_)));
}

#[test]
fn an_ephemeral_key_that_makes_the_secret_predictable() {
    let share = BASE64_NOPAD.encode(&[0; 32]);
    let text = [INTRO, "-> X25519 ", &share, "\n", &share, "\n", MAC].concat();
    let read = Header::parse(text.as_bytes()).unwrap().unwrap();
    let opened = read.unwrap(&[Identity::generate(&mut OsRandom)]);
    assert!(matches!(opened, Err(HeaderError::Malformed("an ephemeral key of low order"))));
}

#[test]
fn a_recipient_that_was_added_or_taken_away_later() {
    let (me, other) = (Identity::generate(&mut OsRandom), Identity::generate(&mut OsRandom));
    let key = FileKey::generate(&mut OsRandom);
    let made = Header::write(&key, &[me.recipient(), other.recipient()], &mut OsRandom).unwrap();
    let text = std::str::from_utf8(made.as_bytes()).unwrap();
    let second = text.rfind("-> ").unwrap();
    let end = text.rfind("---").unwrap();
    let without = [&text[..second], &text[end..]].concat();
    let with = [&text[..end], &text[second..]].concat();
    for changed in [without, with] {
        let read = Header::parse(changed.as_bytes()).unwrap().unwrap();
        assert!(matches!(read.unwrap(std::slice::from_ref(&me)), Err(HeaderError::Mac)));
    }
}

const NONCE: PayloadNonce = PayloadNonce([7; 16]);

struct Ones;

impl Random for Ones {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(1);
    }
}

fn key() -> FileKey {
    FileKey::generate(&mut Ones)
}

/// Three chunks, the last of them shorter.
fn payload() -> Vec<u8> {
    let (mut sealer, mut out) = (Sealer::new(&key(), NONCE), Vec::new());
    sealer.update(&vec![5; 150_000], &mut out);
    sealer.finish(&mut out);
    out
}

fn opened(sealed: &[u8], nonce: PayloadNonce) -> Result<Vec<u8>, PayloadError> {
    let (mut opener, mut out) = (Opener::new(&key(), nonce), Vec::new());
    opener.update(sealed, &mut out)?;
    opener.finish(&mut out).map(|()| out)
}

#[test]
fn content_that_was_cut_between_two_chunks() {
    assert_eq!(opened(&payload(), NONCE).unwrap().len(), 150_000);
    assert_eq!(opened(&payload()[..2 * SEALED_CHUNK], NONCE), Err(PayloadError::Chunk(1)));
}

#[test]
fn content_whose_chunks_changed_places() {
    let mut sealed = payload();
    let (first, second) = sealed.split_at_mut(SEALED_CHUNK);
    first.swap_with_slice(&mut second[..SEALED_CHUNK]);
    assert_eq!(opened(&sealed, NONCE), Err(PayloadError::Chunk(0)));
}

#[test]
fn content_that_goes_on_behind_its_end() {
    let longer = [payload(), payload()].concat();
    assert_eq!(opened(&longer, NONCE), Err(PayloadError::Chunk(2)));
}

#[test]
fn content_under_the_nonce_of_another() {
    assert_eq!(opened(&payload(), PayloadNonce([8; 16])), Err(PayloadError::Chunk(0)));
}

#[test]
fn content_that_is_not_there() {
    assert_eq!(opened(&[], NONCE), Err(PayloadError::Truncated));
}

/// A manifest's entry: kind, path, and for files their length.
type Put<'a> = (u8, &'a [u8], Option<u64>);

const FILE: u8 = 1;
const DIRECTORY: u8 = 0;

/// A manifest as the specification writes it, of whatever it is given.
fn manifest(stream: u64, packs: u32, count: u32, entries: &[Put<'_>]) -> Vec<u8> {
    let mut out = b"adit sealed tree 1\n".to_vec();
    out.extend(stream.to_le_bytes());
    out.extend(packs.to_le_bytes());
    // A number that is too great stands before nothing.
    (0..packs.min(8)).for_each(|_| out.extend([1; 16]));
    out.extend(count.to_le_bytes());
    for (kind, path, len) in entries {
        out.push(*kind);
        out.extend((path.len() as u16).to_le_bytes());
        out.extend(*path);
        out.extend(len.iter().flat_map(|len| len.to_le_bytes()));
    }
    out.resize(padded(out.len() as u64) as usize, 0);
    out
}

/// What reading a manifest gives that has these entries, and is right otherwise.
fn entries(entries: &[Put<'_>]) -> ManifestError {
    let stream = entries.iter().filter_map(|entry| entry.2).sum();
    Manifest::decode(&manifest(stream, 1, entries.len() as u32, entries)).unwrap_err()
}

fn why(error: ManifestError) -> &'static str {
    match error {
        ManifestError::Path(error) => error.why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_manifests_here_are_read_when_nothing_is_wrong_with_them() {
    let right = manifest(5, 1, 2, &[(DIRECTORY, b"a", None), (FILE, b"a/b", Some(5))]);
    assert_eq!(Manifest::decode(&right).unwrap().entries().len(), 2);
}

#[test]
fn a_path_that_leads_out_of_the_tree() {
    assert_eq!(why(entries(&[(FILE, b"../.ssh/authorized_keys", Some(1))])), "contains `.` or `..`");
    assert_eq!(
        why(entries(&[(DIRECTORY, b"a", None), (FILE, b"a/../../b", Some(1))])),
        "contains `.` or `..`"
    );
}

#[test]
fn a_path_from_the_root() {
    assert_eq!(why(entries(&[(FILE, b"/etc/passwd", Some(1))])), "has an empty name in it");
}

#[test]
fn a_name_that_a_terminal_obeys() {
    assert_eq!(why(entries(&[(FILE, b"a\x1b[2Jb", Some(1))])), "contains control characters");
    assert_eq!(why(entries(&[(FILE, "a\u{9b}2Jb".as_bytes(), Some(1))])), "contains control characters");
}

#[test]
fn a_name_that_ends_early_for_the_system() {
    assert_eq!(why(entries(&[(FILE, b"a\0b", Some(1))])), "contains control characters");
}

#[test]
fn a_name_that_is_not_text() {
    assert_eq!(why(entries(&[(FILE, b"a\xffb", Some(1))])), "is not UTF-8");
}

#[test]
fn a_name_that_no_file_system_takes() {
    assert_eq!(why(entries(&[(FILE, &[b'x'; 256], Some(1))])), "has too long a name in it");
}

#[test]
fn a_path_that_is_too_long() {
    assert_eq!(why(entries(&[(FILE, &b"xxxxxxx/".repeat(129), Some(1))])), "is too long");
}

#[test]
fn a_tree_that_is_too_deep() {
    let paths: Vec<Vec<u8>> = (1..=33).map(|depth| vec!["d"; depth].join("/").into_bytes()).collect();
    let deep: Vec<Put<'_>> = paths.iter().map(|path| (DIRECTORY, &path[..], None)).collect();
    assert_eq!(why(entries(&deep)), "is too deep");
}

#[test]
fn a_file_that_stands_for_two() {
    let twice = entries(&[(FILE, b"a", Some(1)), (FILE, b"a", Some(2))]);
    assert!(matches!(twice, ManifestError::Order(_)));
}

#[test]
fn a_file_below_a_file() {
    let below = entries(&[(FILE, b"a", Some(1)), (FILE, b"a/b", Some(2))]);
    assert!(matches!(below, ManifestError::Order(_)));
}

#[test]
fn a_file_in_no_directory() {
    assert!(matches!(entries(&[(FILE, b"a/b", Some(2))]), ManifestError::Order(_)));
}

#[test]
fn an_entry_of_a_kind_that_is_not_known() {
    // Such as a link.
    assert_eq!(entries(&[(3, b"a", None)]), ManifestError::Kind(3));
}

#[test]
fn files_whose_lengths_overflow() {
    let both: [Put<'_>; 2] = [(FILE, b"a", Some(u64::MAX)), (FILE, b"b", Some(6))];
    assert_eq!(Manifest::decode(&manifest(5, 1, 2, &both)), Err(ManifestError::Lengths));
}

#[test]
fn files_beyond_the_end_of_the_stream() {
    let long: [Put<'_>; 1] = [(FILE, b"a", Some(6))];
    assert_eq!(Manifest::decode(&manifest(5, 1, 1, &long)), Err(ManifestError::Lengths));
}

#[test]
fn a_stream_that_hides_bytes_behind_its_files() {
    let short: [Put<'_>; 1] = [(FILE, b"a", Some(4))];
    assert_eq!(Manifest::decode(&manifest(5, 1, 1, &short)), Err(ManifestError::Lengths));
}

#[test]
fn more_entries_than_are_accepted() {
    let bomb = manifest(0, 1, MAX_ENTRIES as u32 + 1, &[]);
    assert_eq!(Manifest::decode(&bomb), Err(ManifestError::TooMany("more entries")));
}

#[test]
fn more_entries_than_there_are_bytes() {
    // What follows is zeros: entries without a name.
    assert_eq!(
        why(Manifest::decode(&manifest(0, 1, MAX_ENTRIES as u32, &[])).unwrap_err()),
        "has an empty name in it"
    );
}

#[test]
fn more_packs_than_the_stream_takes() {
    assert_eq!(Manifest::decode(&manifest(5, u32::MAX, 0, &[])), Err(ManifestError::Lengths));
}

#[test]
fn a_stream_longer_than_any() {
    assert_eq!(
        Manifest::decode(&manifest(u64::MAX, u32::MAX, 0, &[])),
        Err(ManifestError::TooMany("longer files"))
    );
}

#[test]
fn packs_whose_nonces_are_not_there() {
    let stream = 16_000 * PACK;
    let packs = padded(stream).div_ceil(PACK) as u32;
    assert_eq!(Manifest::decode(&manifest(stream, packs, 0, &[])), Err(ManifestError::Truncated));
}

#[test]
fn a_manifest_longer_than_any() {
    let long = vec![0; padded(MAX_MANIFEST) as usize + 1];
    assert_eq!(Manifest::decode(&long), Err(ManifestError::TooMany("more bytes")));
}

#[test]
fn a_manifest_with_something_behind_its_end() {
    let mut bytes = manifest(5, 1, 1, &[(FILE, b"a", Some(5))]);
    *bytes.last_mut().unwrap() = 1;
    assert_eq!(Manifest::decode(&bytes), Err(ManifestError::Padding));
    *bytes.last_mut().unwrap() = 0;
    bytes.resize(bytes.len() * 2, 0);
    assert_eq!(Manifest::decode(&bytes), Err(ManifestError::Padding));
}

#[test]
fn a_manifest_of_another_version() {
    let mut bytes = manifest(5, 1, 1, &[(FILE, b"a", Some(5))]);
    bytes[17] = b'2';
    assert_eq!(Manifest::decode(&bytes), Err(ManifestError::Magic));
}
