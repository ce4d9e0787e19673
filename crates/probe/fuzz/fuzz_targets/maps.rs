//! Arbitrary text in the place of /proc/PID/maps, and arbitrary bytes in the place of the loader's cache.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // One input is both: what is not understood is left out.
    for mapping in qtap_probe::parse_maps(data) {
        assert!(mapping.path.is_absolute(), "{mapping:?}");
    }
    for path in qtap_probe::parse_cache(data) {
        assert!(path.is_absolute(), "{path:?}");
    }
});
