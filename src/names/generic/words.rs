//! What words in a name say, in the languages of those who name lines.

/// Words by their letters, so that they are found by halves. Above 0: a line; below: a
/// server, or an address that stays.
const WORDS: &[(&str, i32)] = &[
    ("abo", 2),
    ("abonado", 2),
    ("abonent", 2),
    ("abonne", 2),
    ("abts", 2),
    ("access", 2),
    ("adsl", 5),
    ("antispam", -6),
    ("asiakas", 2),
    ("backup", -2),
    ("bb", 3),
    ("bba", 3),
    ("biz", -4),
    ("bounce", -6),
    ("bounces", -6),
    ("bras", 3),
    ("bredband", 3),
    ("breitband", 3),
    ("broadband", 4),
    ("bulkmail", -6),
    ("business", -4),
    ("cable", 3),
    ("cablemodem", 5),
    ("cabo", 3),
    ("casa", 2),
    ("catv", 4),
    ("cdma", 4),
    ("cgn", 4),
    ("cgnat", 4),
    ("cli", 2),
    ("client", 2),
    ("cliente", 2),
    ("clientes", 2),
    ("clients", 1),
    ("cloud", -3),
    ("cm", 3),
    ("colo", -4),
    ("colocation", -4),
    ("compute", -3),
    ("corp", -4),
    ("corporate", -4),
    ("cpc", 3),
    ("cpe", 4),
    ("cust", 2),
    ("customer", 2),
    ("customers", 2),
    ("dedi", -4),
    ("dedicado", -4),
    ("dedicated", -4),
    ("dedie", -4),
    ("delivery", -6),
    ("dhcp", 5),
    ("dial", 5),
    ("dialin", 5),
    ("dialup", 5),
    ("dialups", 5),
    ("din", 3),
    ("dinamic", 5),
    ("dinamica", 5),
    ("dinamico", 5),
    ("dinamik", 5),
    ("dip", 4),
    ("docsis", 4),
    ("dom", 2),
    ("dsl", 5),
    ("dslam", 4),
    ("dul", 4),
    ("dyn", 5),
    ("dynadsl", 5),
    ("dynamic", 5),
    ("dynamicip", 5),
    ("dynamicky", 5),
    ("dynamiczny", 5),
    ("dynamika", 5),
    ("dynamique", 5),
    ("dynamisch", 5),
    ("dynip", 5),
    ("dynpool", 5),
    ("edm", -6),
    ("email", -6),
    ("emails", -6),
    ("enterprise", -4),
    ("entreprise", -4),
    ("estatica", -6),
    ("estatico", -6),
    ("exchange", -6),
    ("fiber", 3),
    ("fibertel", 3),
    ("fibra", 3),
    ("fibre", 3),
    ("fija", -6),
    ("fijo", -6),
    ("fios", 2),
    ("firewall", -2),
    ("fix", -6),
    ("fixa", -6),
    ("fixe", -6),
    ("fixed", -6),
    ("fixip", -6),
    ("fixo", -6),
    ("fttb", 4),
    ("ftth", 4),
    ("fttx", 4),
    ("gate", -2),
    ("gateway", -2),
    ("gepon", 4),
    ("gpon", 4),
    ("gprs", 4),
    ("gw", -2),
    ("hfc", 4),
    ("home", 3),
    ("homeuser", 4),
    ("host", 1),
    ("hosted", -3),
    ("hosting", -3),
    ("hsd", 3),
    ("hsdpa", 4),
    ("hsi", 3),
    ("imap", -6),
    ("infinitum", 2),
    ("instance", -3),
    ("instances", -3),
    ("internetdsl", 3),
    ("ip", 1),
    ("ipconnect", 2),
    ("ips", 1),
    ("isdn", 5),
    ("kabel", 3),
    ("klient", 2),
    ("klienti", 2),
    ("kunde", 2),
    ("kunden", 2),
    ("leased", -2),
    ("ll", -2),
    ("lns", 4),
    ("lte", 4),
    ("mass", -6),
    ("mg", -2),
    ("mobil", 3),
    ("mobile", 3),
    ("modem", 4),
    ("mout", -6),
    ("movil", 3),
    ("msg", -6),
    ("nat", 3),
    ("news", -6),
    ("newsletter", -6),
    ("newsletters", -6),
    ("ns", -4),
    ("ool", 3),
    ("out", -6),
    ("outbound", -6),
    ("outgoing", -6),
    ("outpost", -6),
    ("pool", 4),
    ("pools", 4),
    ("post", -6),
    ("postfix", -6),
    ("postout", -6),
    ("ppp", 5),
    ("pppoe", 5),
    ("pptp", 4),
    ("priv", 3),
    ("privat", 2),
    ("red", 1),
    ("rede", 1),
    ("relay", -6),
    ("relayout", -6),
    ("relays", -6),
    ("res", 3),
    ("resi", 3),
    ("residencial", 4),
    ("residential", 4),
    ("resnet", 4),
    ("retail", 2),
    ("rev", 1),
    ("reverse", 1),
    ("revip", 1),
    ("roaming", 4),
    ("satellite", 3),
    ("sdsl", -4),
    ("sender", -6),
    ("senders", -6),
    ("server", -4),
    ("servers", -4),
    ("servidor", -4),
    ("serwer", -4),
    ("smarthost", -6),
    ("spam", -6),
    ("spamfilter", -6),
    ("speedy", 3),
    ("srv", -4),
    ("stala", -6),
    ("starlink", 3),
    ("stat", -6),
    ("static", -6),
    ("statica", -6),
    ("staticip", -6),
    ("statico", -6),
    ("staticpool", -6),
    ("statik", -6),
    ("statique", -6),
    ("statisch", -6),
    ("sub", 2),
    ("subs", 2),
    ("subscriber", 3),
    ("subscribers", 3),
    ("telefonia", 2),
    ("ttnet", 2),
    ("umts", 4),
    ("unassigned", 2),
    ("unused", 2),
    ("user", 2),
    ("users", 2),
    ("usuario", 2),
    ("utente", 2),
    ("vdsl", 5),
    ("velox", 3),
    ("virtua", 2),
    ("vm", -3),
    ("vmi", -4),
    ("vps", -4),
    ("vpsserver", -4),
    ("vserver", -4),
    ("web", -2),
    ("wifi", 4),
    ("wimax", 4),
    ("wireless", 3),
    ("wlan", 4),
    ("wwan", 4),
    ("www", -4),
    ("xdsl", 5),
    ("zimbra", -6),
];

/// Words of mail servers that are not in the table begin or end like this: `mailgw`,
/// `smtpout`, `mxin`, `webmail`.
const BEGINS_MAIL: &[&str] = &["mail", "mta", "mx", "smtp"];
const ENDS_MAIL: &[&str] = &["mail", "mailer", "mta", "smtp"];

/// The word of a mail server, or of a line that stays.
pub(super) const OUTWEIGHS: i32 = -6;

/// A word that is not in the table and begins or ends like this: `dslpool`, `athedsl`.
const LINE: &str = "dsl";
const LIKE_LINE: i32 = 5;

/// Somewhere in the domain of a provider who has such lines.
const OF_LINES: &[&str] = &["adsl", "broadband", "cable", "dialin", "dialup", "dsl", "ftth", "kabel"];

/// Somewhere in the domain of a provider of servers; big ones by name, where that does
/// not tell.
const OF_SERVERS: &[&str] = &[
    "amazonaws",
    "cloud",
    "dedicated",
    "hetzner",
    "hosting",
    "linode",
    "poneytelecom",
    "server",
    "usercontent",
    "vps",
    "vultr",
];

/// Labels below which a country's registry gives names to all.
const SHARED: &[&str] = &[
    "ac", "ad", "asn", "biz", "co", "com", "edu", "gen", "go", "gob", "gov", "gv", "id", "in", "info", "mil",
    "ne", "net", "nom", "or", "org", "res", "web",
];

/// Where the words begin that begin with each letter, and where the last end.
const BEGINS: [usize; 27] = begins();

const fn begins() -> [usize; 27] {
    let mut begins = [WORDS.len(); 27];
    let mut at = WORDS.len();
    while at > 0 {
        at -= 1;
        let letter = (WORDS[at].0.as_bytes()[0] - b'a') as usize;
        begins[letter] = at;
    }
    // A letter without words begins where the next one does.
    let mut letter = 26;
    while letter > 0 {
        letter -= 1;
        if begins[letter] > begins[letter + 1] {
            begins[letter] = begins[letter + 1];
        }
    }
    begins
}

/// What one word is worth.
pub(super) fn points(word: &str) -> i32 {
    let letter = word.bytes().next().map(|first| usize::from(first.wrapping_sub(b'a')));
    let range = letter.and_then(|letter| Some(*BEGINS.get(letter)?..*BEGINS.get(letter + 1)?));
    let words = range.and_then(|range| WORDS.get(range)).unwrap_or_default();
    if let Ok(at) = words.binary_search_by(|(known, _)| (*known).cmp(word)) {
        return words.get(at).map_or(0, |(_, points)| *points);
    }
    let begins = BEGINS_MAIL.iter().any(|part| word.starts_with(part));
    let ends = ENDS_MAIL.iter().any(|part| word.ends_with(part));
    if begins || ends {
        return OUTWEIGHS;
    }
    if word.starts_with(LINE) || word.ends_with(LINE) { LIKE_LINE } else { 0 }
}

pub(super) fn in_domain_of_lines(domain: &str) -> Option<&'static str> {
    first_in(domain, OF_LINES)
}

pub(super) fn in_domain_of_servers(domain: &str) -> Option<&'static str> {
    first_in(domain, OF_SERVERS)
}

/// The first of these words that stands anywhere. The words are short and few: a
/// searcher for each would cost more than the whole.
fn first_in(text: &str, words: &[&'static str]) -> Option<&'static str> {
    let letters = words.iter().fold(0_u32, |letters, word| letters | bit(word.as_bytes()));
    (0..text.len()).find_map(|at| {
        let rest = text.as_bytes().get(at..)?;
        if bit(rest) & letters == 0 {
            return None;
        }
        words.iter().copied().find(|word| rest.starts_with(word.as_bytes()))
    })
}

/// One for each first letter.
fn bit(text: &[u8]) -> u32 {
    match text.first() {
        Some(letter) if letter.is_ascii_lowercase() => 1 << (letter - b'a'),
        _ => 0,
    }
}

/// Whether names below `label.CC` belong to different people.
pub(super) fn is_shared_below_country(label: &str) -> bool {
    SHARED.binary_search(&label).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_order() {
        assert!(WORDS.is_sorted_by(|(one, _), (other, _)| one < other));
        assert!(SHARED.is_sorted());
        for (word, worth) in WORDS {
            assert_eq!(points(word), *worth, "{word}");
        }
    }
}
