//! Codes that stand for something else, where a typo would be a condition that never
//! holds: countries, and numbers of networks.

use super::Loader;
use crate::facts::Fact;
use crate::yaml::Node;

/// ISO 3166, and what MaxMind gives Kosovo.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR \
     BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ \
     EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW \
     GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY \
     KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV \
     MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY \
     QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG \
     TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA \
     ZM ZW";

/// What people write instead.
const USUAL: [(&str, &str); 2] = [("UK", "GB"), ("EL", "GR")];

/// A mistake for each literal that the fact never says.
pub fn check_codes(fact: Fact, node: &Node, cx: &mut Loader<'_>) -> bool {
    let odd: fn(&str) -> Option<String> = match fact {
        Fact::Country | Fact::OriginCountry => odd_country,
        Fact::Asn => odd_number,
        _ => return true,
    };
    let node = node.get("is").unwrap_or(node);
    let mut fine = true;
    for item in node.items().iter().filter(|item| item.as_map().is_none()) {
        let text = item.as_text().unwrap_or_default();
        let is_word = matches!(item.as_word(), Some("present" | "absent"));
        let is_pattern = text.contains('*') || (text.starts_with('/') && item.as_word().is_some());
        if let Some(why) = odd(text).filter(|_| !is_word && !is_pattern) {
            cx.mistake(item.place, why);
            fine = false;
        }
    }
    fine
}

fn odd_country(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    if COUNTRIES.split(' ').any(|code| code == upper) {
        return None;
    }
    let usual = USUAL.iter().find(|(usual, _)| *usual == upper);
    Some(match usual {
        Some((_, code)) => format!("`{text}` is no country's code (ISO 3166); did you mean `{code}`?"),
        None => format!("`{text}` is no country's code of two letters (ISO 3166), such as DE"),
    })
}

fn odd_number(text: &str) -> Option<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u32>().is_ok() {
        return None;
    }
    let number =
        text.get(2..).filter(|_| text.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("as")));
    Some(match number.filter(|number| number.parse::<u32>().is_ok()) {
        Some(number) => format!("`{text}`: say the number alone, `{number}`"),
        None => format!("`{text}` is not the number of a network, such as 64500"),
    })
}
