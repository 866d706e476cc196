//! The one table of facts: every attribute of a policy request, every thing the
//! milter tells, and what is derived from them. Rules, texts, keys of limits
//! and the documents all take their names from here.

/// When something is first known, in the order of an SMTP session.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    #[default]
    Connect,
    Helo,
    Mail,
    Rcpt,
    Data,
    Message,
}

impl Stage {
    pub const ALL: [Self; 6] = [Self::Connect, Self::Helo, Self::Mail, Self::Rcpt, Self::Data, Self::Message];

    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Helo => "helo",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Message => "message",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.word() == word)
    }
}

/// What something belongs to. A wider one holds for all that it contains.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    #[default]
    Connection,
    Message,
    Recipient,
}

impl Scope {
    pub fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Message => "message",
            Self::Recipient => "recipient",
        }
    }
}

/// What a fact's value is, and so which patterns and options it takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A mail address or login.
    Address,
    /// An IP address together with its verified name.
    Client,
    Domain,
    Ip,
    Number,
    Text,
    Words(&'static [&'static str]),
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Client => "client",
            Self::Domain => "domain",
            Self::Ip => "network",
            Self::Number => "number",
            Self::Text => "text",
            Self::Words(_) => "words",
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct FactInfo {
    pub name: &'static str,
    pub kind: Kind,
    /// The stage from which on it is known.
    pub stage: Stage,
    pub scope: Scope,
    /// The policy attribute that carries it, from this Postfix version on.
    pub attribute: Option<(&'static str, &'static str)>,
    pub doc: &'static str,
}

macro_rules! facts {
    ($($variant:ident $name:literal $kind:expr, $stage:ident $scope:ident, $attribute:expr, $doc:literal;)+) => {
        /// A fact, by its place in the table.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Fact {
            $($variant,)+
        }

        /// Every fact, in the order of the documents.
        pub const FACTS: &[FactInfo] = &[
            $(FactInfo {
                name: $name,
                kind: $kind,
                stage: Stage::$stage,
                scope: Scope::$scope,
                attribute: $attribute,
                doc: $doc,
            },)+
        ];

        const BY_INDEX: &[Fact] = &[$(Fact::$variant,)+];

        impl Fact {
            /// The fact a policy attribute carries. `size` is not among them by its own
            /// name: until the end of the message it is only what the client announced.
            pub fn of_attribute(attribute: &str) -> Option<Self> {
                // Each is compared as a constant: its length, then a word or two.
                $({
                    const CARRIER: Option<(&str, &str)> = $attribute;
                    if let Some((name, _)) = CARRIER && name == attribute {
                        return Some(Self::$variant);
                    }
                })+
                None
            }
        }
    };
}

const FAMILIES: Kind = Kind::Words(&["ipv4", "ipv6"]);
const DIRECTIONS: Kind = Kind::Words(&["outbound", "inbound", "local", "bounce"]);
const WEEKDAYS: Kind = Kind::Words(&["mon", "tue", "wed", "thu", "fri", "sat", "sun"]);
const STRESS: Kind = Kind::Words(&["yes"]);
const PROTOCOLS: Kind = Kind::Words(&["smtp", "esmtp"]);

facts! {
    Client "client" Kind::Client, Connect Connection, None,
        "The client's address or its verified name, whichever a pattern fits.";
    ClientAddress "client_address" Kind::Ip, Connect Connection, Some(("client_address", "2.1")),
        "The client's IP address.";
    ClientName "client_name" Kind::Domain, Connect Connection, Some(("client_name", "2.1")),
        "The client's name, verified in both directions, or `unknown`.";
    ReverseClientName "reverse_client_name" Kind::Domain, Connect Connection, Some(("reverse_client_name", "2.1")),
        "The name the client's address points to, not verified, or `unknown`.";
    ClientPort "client_port" Kind::Number, Connect Connection, Some(("client_port", "3.0")),
        "The client's port; absent when Postfix does not know it.";
    ClientFamily "client_family" FAMILIES, Connect Connection, None,
        "Whether the client came over IPv4 or IPv6.";
    ServerAddress "server_address" Kind::Ip, Connect Connection, Some(("server_address", "3.2")),
        "The address of ours that the client connected to.";
    ServerPort "server_port" Kind::Number, Connect Connection, Some(("server_port", "3.2")),
        "The port of ours that the client connected to.";
    ServerFamily "server_family" FAMILIES, Connect Connection, None,
        "Whether the address of ours is IPv4 or IPv6.";
    Listener "listener" Kind::Text, Connect Connection, None,
        "The name of the gatepost socket that was asked (`listen:` in gatepost.yaml).";
    PolicyContext "policy_context" Kind::Text, Connect Connection, Some(("policy_context", "3.1")),
        "The text set for this check_policy_service in main.cf or master.cf. Rules are asked once a stage, where Postfix asks first: a later restriction list's is not seen.";
    DaemonName "daemon_name" Kind::Text, Connect Connection, None,
        "The milter's `{daemon_name}` macro (milter_macro_daemon_name).";
    Hour "hour" Kind::Number, Connect Connection, None,
        "The hour of the day by the server's clock, 0 to 23.";
    Weekday "weekday" WEEKDAYS, Connect Connection, None,
        "The day of the week by the server's clock.";
    Stress "stress" STRESS, Connect Connection, Some(("stress", "2.5")),
        "`yes` while Postfix is overloaded.";
    MailVersion "mail_version" Kind::Text, Connect Connection, Some(("mail_version", "3.8")),
        "The version of Postfix.";
    CompatibilityLevel "compatibility_level" Kind::Text, Connect Connection, Some(("compatibility_level", "3.8")),
        "Postfix's compatibility_level.";
    Country "country" Kind::Text, Connect Connection, None,
        "The country of the client's address, two letters (ISO 3166), by `geoip.country` in gatepost.yaml; absent where the file does not know it.";
    Asn "asn" Kind::Text, Connect Connection, None,
        "The number of the network (autonomous system) that the client's address is announced by, such as `64500`, by `geoip.asn`.";
    HeloName "helo_name" Kind::Domain, Helo Connection, Some(("helo_name", "2.1")),
        "The name in HELO or EHLO; what could be taken for syntax in it (a blank, `@`, `;`, brackets) is `?`.";
    ProtocolName "protocol_name" PROTOCOLS, Helo Connection, Some(("protocol_name", "2.1")),
        "Whether the client speaks SMTP or ESMTP.";
    EncryptionProtocol "encryption_protocol" Kind::Text, Mail Message, Some(("encryption_protocol", "2.3")),
        "The TLS version, such as `TLSv1.3`; absent in plaintext.";
    EncryptionCipher "encryption_cipher" Kind::Text, Mail Message, Some(("encryption_cipher", "2.3")),
        "The TLS cipher; absent in plaintext.";
    EncryptionKeysize "encryption_keysize" Kind::Number, Mail Message, Some(("encryption_keysize", "2.3")),
        "The TLS key size in bits; 0 in plaintext.";
    TlsSni "tls_sni" Kind::Domain, Mail Message, Some(("tls_sni", "3.12")),
        "The name the client asked for in TLS.";
    CcertSubject "ccert_subject" Kind::Text, Mail Message, Some(("ccert_subject", "2.2")),
        "The client certificate's subject, if it is trusted (decoded from xtext).";
    CcertIssuer "ccert_issuer" Kind::Text, Mail Message, Some(("ccert_issuer", "2.2")),
        "The client certificate's issuer, if it is trusted (decoded from xtext).";
    CcertFingerprint "ccert_fingerprint" Kind::Text, Mail Message, Some(("ccert_fingerprint", "2.2")),
        "The client certificate's fingerprint, trusted or not.";
    CcertPubkeyFingerprint "ccert_pubkey_fingerprint" Kind::Text, Mail Message, Some(("ccert_pubkey_fingerprint", "2.9")),
        "The fingerprint of the client certificate's public key.";
    SaslMethod "sasl_method" Kind::Text, Mail Message, Some(("sasl_method", "2.2")),
        "How the client logged in, such as `PLAIN`.";
    SaslUsername "sasl_username" Kind::Address, Mail Message, Some(("sasl_username", "2.2")),
        "The login; absent when the client did not log in.";
    SaslSender "sasl_sender" Kind::Address, Mail Message, Some(("sasl_sender", "2.2")),
        "The AUTH= parameter of MAIL (decoded from xtext).";
    Direction "direction" DIRECTIONS, Mail Message, None,
        "`outbound` (logged in, or from local.networks), `inbound`, `local` (sendmail(1)), or `bounce` (our own Postfix's).";
    Sender "sender" Kind::Address, Mail Message, Some(("sender", "2.1")),
        "The envelope sender; the null sender is `<>`.";
    SenderDomain "sender_domain" Kind::Domain, Mail Message, None,
        "The domain of the envelope sender; absent for the null sender.";
    AnnouncedSize "announced_size" Kind::Number, Mail Message, Some(("size", "2.2")),
        "The size the client announced in MAIL, in bytes; absent when it did not.";
    Instance "instance" Kind::Text, Rcpt Message, Some(("instance", "2.1")),
        "Postfix's identifier of the transaction.";
    QueueId "queue_id" Kind::Text, Rcpt Message, Some(("queue_id", "2.1")),
        "The queue id; absent until the first recipient was accepted.";
    Recipient "recipient" Kind::Address, Rcpt Recipient, Some(("recipient", "2.1")),
        "The envelope recipient; at `data` and `message` a mail may have several.";
    RecipientDomain "recipient_domain" Kind::Domain, Rcpt Recipient, None,
        "The domain of the envelope recipient.";
    RecipientCount "recipient_count" Kind::Number, Data Message, Some(("recipient_count", "2.3")),
        "How many recipients were accepted.";
    RefusedRecipients "refused_recipients" Kind::Number, Data Message, None,
        "How many recipients were refused, by whomever (needs the milter).";
    Size "size" Kind::Number, Message Message, None,
        "The size of the message in bytes.";
    HeaderCount "header_count" Kind::Number, Message Message, None,
        "How many header fields the message has.";
    HeaderSize "header_size" Kind::Number, Message Message, None,
        "The size of the header in bytes: all fields with their folds and line ends.";
    OriginIp "origin_ip" Kind::Ip, Message Message, None,
        "The client behind the servers that we trust (`local.networks`, `local.relays`), by their `Received` or the field that they declare; the client's own address if it is not one of them, absent where they don't say.";
    OriginCountry "origin_country" Kind::Text, Message Message, None,
        "The country of `origin_ip`.";
}

/// How many facts there are.
pub const FACT_COUNT: usize = FACTS.len();

impl Fact {
    pub fn info(self) -> &'static FactInfo {
        &FACTS[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.info().name
    }

    pub fn all() -> impl Iterator<Item = Self> {
        BY_INDEX.iter().copied()
    }

    /// Whether each recipient has a value of its own.
    pub fn is_of_recipient(self) -> bool {
        self.info().scope == Scope::Recipient
    }

    /// The fact a rule means by this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|fact| fact.name() == name)
    }
}

/// The reference page of facts.
pub fn reference() -> String {
    let mut page = String::from(
        "# Facts\n\nWritten by `UPDATE=1 cargo test --test tidy`.\n\n\
         What is known of a session, a message or a recipient. Each can be asked in `when` and `unless`,\n\
         stand in a text as `{name}`, and be a limit's key.\n\n\
         | fact | kind | known from | belongs to | policy attribute (Postfix) | what it is |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for fact in FACTS {
        let kind = match fact.kind {
            Kind::Words(words) => format!("`{}`", words.join("` `")),
            kind => kind.word().to_owned(),
        };
        let attribute =
            fact.attribute.map_or(String::from("–"), |(name, since)| format!("`{name}` ({since})"));
        page += &format!(
            "| `{}` | {kind} | {} | {} | {attribute} | {} |\n",
            fact.name,
            fact.stage.word(),
            fact.scope.word(),
            fact.doc
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (index, fact) in Fact::all().enumerate() {
            assert_eq!(fact as usize, index);
            assert_eq!(Fact::named(fact.name()), Some(fact));
        }
        assert_eq!(Fact::of_attribute("size"), Some(Fact::AnnouncedSize));
        assert_eq!(Fact::of_attribute("request"), None);
        for fact in Fact::all() {
            if let Some((name, _)) = fact.info().attribute {
                assert_eq!(Fact::of_attribute(name), Some(fact), "{name}");
            }
        }
    }

    #[test]
    fn each_fact_has_a_sentence() {
        for fact in FACTS {
            assert!(fact.doc.ends_with('.'), "{}", fact.name);
        }
    }
}
