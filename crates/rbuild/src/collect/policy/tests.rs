//! Choices among made-up entries.

use std::time::UNIX_EPOCH;

use rbuild_layer::LayerId;

use super::*;
use crate::{CacheKind, Compare};

const NOW: u64 = 1_000_000_000;

fn at(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

/// A layer of `size` bytes that took `cost` seconds and lay idle for `idle` seconds.
fn entry(number: u8, size: u64, cost: u64, idle: u64) -> CacheEntry {
    let key = EntryKey::Layer(LayerId::from_bytes([number; 16]));
    CacheEntry {
        id: key.id(),
        kind: CacheKind::Regular,
        description: format!("step {number}"),
        size_bytes: size,
        created: None,
        last_used: Some(at(NOW - idle)),
        uses: 1,
        cost: Duration::from_secs(cost),
        shared: false,
        in_use: false,
        key,
    }
}

fn chosen(entries: &[CacheEntry], request: &PruneRequest, disk: Disk) -> Vec<u8> {
    let keys = victims(entries, request, (disk, at(NOW)));
    keys.iter()
        .map(|key| match key {
            EntryKey::Layer(layer) => layer.as_bytes()[0],
            _ => 0,
        })
        .collect()
}

fn disk(used: u64, free: u64) -> Disk {
    Disk { used, free }
}

#[test]
fn without_limits_all_go_but_what_is_used_or_shared() {
    let mut entries: Vec<_> = (1..5).map(|n| entry(n, 10, 1, 0)).collect();
    entries[1].shared = true;
    entries[2].in_use = true;
    let mut request = PruneRequest::default();
    assert_eq!(chosen(&entries, &request, disk(40, 0)), [1, 4]);
    request.scope = PruneScope::All;
    assert_eq!(chosen(&entries, &request, disk(40, 0)), [1, 2, 4]);
}

#[test]
fn all_filters_must_hold() {
    let entries = [
        entry(1, 1, 1, 100),
        entry(2, 1, 1, 7200),
        entry(3, 1, 1, 9000),
    ];
    let check = |filters: Vec<CacheFilter>, expected: &[u8]| {
        let request = PruneRequest {
            filters,
            ..PruneRequest::default()
        };
        assert_eq!(chosen(&entries, &request, disk(3, 0)), expected);
    };
    let until = CacheFilter::Until(Duration::from_secs(7200));
    check(vec![until.clone()], &[2, 3]);
    let third = CacheFilter::Description(Compare::Contains("3".to_owned()));
    check(vec![until, third], &[3]);
    check(vec![CacheFilter::Id(Compare::Is("0101".to_owned()))], &[1]);
    check(
        vec![CacheFilter::Id(Compare::IsNot("01".to_owned()))],
        &[2, 3],
    );
    check(
        vec![CacheFilter::Kind(Compare::Is("regular".to_owned()))],
        &[1, 2, 3],
    );
    check(vec![CacheFilter::Mutable(true)], &[]);
    check(vec![CacheFilter::Shared(true)], &[]);
    check(vec![CacheFilter::InUse(false)], &[1, 2, 3]);
}

#[test]
fn what_saves_least_for_its_bytes_goes_first() {
    let entries = [
        entry(1, 100, 100, 0),
        entry(2, 100, 1, 0),
        entry(3, 1000, 100, 0),
        entry(4, 100, 100, 10 * 24 * 3600),
    ];
    let mut request = PruneRequest::default();
    request.limits.max_used = 1;
    assert_eq!(chosen(&entries, &request, disk(1300, 0)), [4, 2, 3, 1]);
    // No more than the limit asks for.
    request.limits.max_used = 1150;
    assert_eq!(chosen(&entries, &request, disk(1300, 0)), [4, 2]);
    request.limits.max_used = 1300;
    assert!(chosen(&entries, &request, disk(1300, 0)).is_empty());
}

#[test]
fn what_goes_anyway_is_counted_first() {
    let mut entries = [entry(1, 100, 1, 0), entry(2, 100, 1, 0)];
    entries[1].kind = CacheKind::Internal;
    let mut request = PruneRequest::default();
    request.limits.max_used = 100;
    assert!(chosen(&entries, &request, disk(200, 0)).is_empty());
    request.limits.max_used = 99;
    assert_eq!(chosen(&entries, &request, disk(200, 0)), [1]);
}

#[test]
fn limits_are_those_of_buildkit() {
    let check = |limits: Limits, expected| {
        assert_eq!(limits.keep(disk(1000, 50)), expected, "{limits:?}");
    };
    let limits = |reserved, max_used, min_free| Limits {
        reserved,
        max_used,
        min_free,
    };
    check(limits(0, 0, 0), None);
    check(limits(0, 300, 0), Some(300));
    check(limits(400, 300, 0), Some(400));
    check(limits(400, 0, 0), Some(400));
    check(limits(0, 0, 150), Some(900));
    check(limits(0, 0, 50), Some(1000));
    check(limits(0, 300, 150), Some(300));
    check(limits(950, 0, 5000), Some(950));
}

#[test]
fn clocks_that_jump_do_no_harm() {
    let mut future = entry(1, 10, 1, 0);
    future.last_used = Some(at(NOW + 1_000_000));
    let mut never = entry(2, 10, 1, 0);
    never.last_used = None;
    let mut request = PruneRequest::default();
    request.limits.max_used = 10;
    assert_eq!(chosen(&[future, never], &request, disk(20, 0)), [2]);
}
