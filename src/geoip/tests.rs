//! Files of addresses as they should be, and as they should not.

use super::*;

use ip_files::Value;
use ip_files::file;

#[path = "../../tests/it/rig/ip_files.rs"]
mod ip_files;

fn countries() -> Vec<u8> {
    let code = |code| Value::Text(code);
    file(
        "Test-Country",
        &[
            ("192.0.2.0/24", Value::Map(&[("country", Value::Map(&[("iso_code", code("DE"))]))])),
            ("198.51.100.0/25", Value::Map(&[("country_code", code("no"))])),
            ("198.51.100.128/25", Value::Map(&[("country", code("FR"))])),
            ("203.0.113.0/24", Value::Map(&[("continent", code("EU"))])),
        ],
    )
}

fn networks() -> Vec<u8> {
    file(
        "Test-ASN",
        &[
            ("192.0.2.0/24", Value::Map(&[("autonomous_system_number", Value::Number(64_500))])),
            ("198.51.100.0/24", Value::Map(&[("asn", Value::Text("AS64501"))])),
        ],
    )
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_have_countries_and_networks() {
    let geoip = GeoIp {
        country: Some(Base::read(countries(), What::Country).unwrap()),
        asn: Some(Base::read(networks(), What::Asn).unwrap()),
    };
    for (address, country, asn) in [
        ("192.0.2.7", Some("DE"), Some(64_500)),
        ("198.51.100.7", Some("NO"), Some(64_501)),
        ("198.51.100.200", Some("FR"), Some(64_501)),
        ("203.0.113.7", None, None),
        ("10.0.0.1", None, None),
        ("2001:db8::1", None, None),
    ] {
        assert_eq!(geoip.country(ip(address)).as_deref(), country, "{address}");
        assert_eq!(geoip.asn(ip(address)), asn, "{address}");
    }
    assert_eq!(GeoIp::default().country(ip("192.0.2.7")), None);
}

#[test]
fn a_file_of_another_kind_is_told() {
    let said = |bytes, what| Base::read(bytes, what).unwrap_err();
    assert_eq!(
        said(networks(), What::Country),
        "a file of the kind `Test-ASN` says nothing of countries; it is one for `geoip.asn`"
    );
    assert_eq!(
        said(countries(), What::Asn),
        "a file of the kind `Test-Country` says nothing of numbers of networks (ASN); it is one for `geoip.country`"
    );
}

#[test]
fn a_broken_file_is_told_and_does_no_harm() {
    for bytes in [Vec::new(), b"<html>not found</html>".to_vec(), vec![0xff; 4_096]] {
        let said = Base::read(bytes, What::Country).unwrap_err();
        assert!(said.starts_with("not a whole file in MaxMind's format (.mmdb): "), "{said}");
    }
    let whole = countries();
    for cut in 0..whole.len() {
        let _ = Base::read(whole[..cut].to_vec(), What::Country);
        let _ = Base::read(whole[cut..].to_vec(), What::Country);
        let mut odd = whole.clone();
        odd[cut] ^= 0xff;
        if let Ok(base) = Base::read(odd, What::Country) {
            let _ = base.country(ip("192.0.2.7"));
        }
    }
}

#[test]
fn a_file_that_can_not_be_read_has_its_place_in_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gatepost.yaml");
    std::fs::write(folder.path().join("asn.mmdb"), "x").unwrap();
    std::fs::write(folder.path().join("country.mmdb"), countries()).unwrap();
    std::fs::write(&path, "geoip:\n  country: none.mmdb\n  asn: asn.mmdb\n").unwrap();
    let mistakes = GeoIp::load(&Config::load(Some(&path)).unwrap()).unwrap_err();
    let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    assert!(
        told[0].contains("gatepost.yaml:2:12: ") && told[0].contains("none.mmdb: can't be read"),
        "{told:?}"
    );
    assert!(
        told[1].contains("gatepost.yaml:3:8: ") && told[1].contains("asn.mmdb: not a whole file"),
        "{told:?}"
    );
    std::fs::write(&path, "geoip: {country: country.mmdb}\n").unwrap();
    let geoip = GeoIp::load(&Config::load(Some(&path)).unwrap()).unwrap();
    assert_eq!(geoip.country(ip("192.0.2.7")).as_deref(), Some("DE"));
    assert!(geoip.has_country() && !geoip.has_asn());
}
