//! DNSLink (<https://dnslink.dev>): a domain's TXT record `dnslink=/ipfs/…` or `dnslink=/ipns/…`.

use crate::limits;
use crate::name::NamePath;

/// Where a domain's DNSLink is looked for: below `_dnslink.` first, then at the domain itself, as of old.
pub fn queries(domain: &str) -> [String; 2] {
    [format!("_dnslink.{domain}"), domain.to_owned()]
}

/// The link among a domain's TXT strings. Of several, the first in the order of their bytes, so that every
/// resolver chooses the same; strings that are something else, or do not parse, do not count.
pub fn find<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<NamePath> {
    let mut links: Vec<&str> = texts
        .into_iter()
        .take(limits::TXT_ENTRIES)
        .filter_map(|text| text.strip_prefix("dnslink="))
        .collect();
    links.sort_unstable();
    links.into_iter().find_map(|link| link.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sound_link_counts() {
        let texts =
            ["v=spf1 -all", "dnslink=nonsense", "dnslink=/ipns/b.example", "dnslink=/ipns/a.example/x"];
        assert_eq!(find(texts).unwrap().to_string(), "/ipns/a.example/x");
        assert_eq!(find(["dnslink="]), None);
        assert_eq!(find(["DNSLINK=/ipfs/bafkqaaa"]), None);
        assert_eq!(find([]), None);
    }

    #[test]
    fn long_links_and_many_strings_are_not_read() {
        let long = format!("dnslink=/ipfs/bafkqaaa/{}", "a".repeat(limits::VALUE));
        assert_eq!(find([long.as_str()]), None);
        let mut many = vec!["other"; limits::TXT_ENTRIES];
        many.push("dnslink=/ipfs/bafkqaaa");
        assert_eq!(find(many), None);
    }
}
