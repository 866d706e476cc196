//! A policy request → facts.
//!
//! Postfix sends every attribute each time, empty or 0 where it has no value;
//! an empty one is not known here. Two mean something when empty: a sender
//! behind MAIL is the null sender, and `unknown` is a name like another. What it
//! says otherwise before MAIL than after it (with `smtpd_delay_reject = no`: the
//! greeting's name and protocol) is put right.

use super::Fact;
use super::Facts;
use super::NULL_SENDER;
use super::Stage;
use super::decode_xtext;
use super::kept_helo;

/// A name and its value, as they stand in a request.
pub type Attribute<'a> = (&'a str, &'a str);

/// What the name of an attribute says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Name {
    Of(Fact),
    Other,
    ProtocolState,
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        match Fact::of_attribute(name) {
            Some(fact) => Self::Of(fact),
            None if name == "protocol_state" => Self::ProtocolState,
            None => Self::Other,
        }
    }
}

impl Facts {
    /// Reads the attributes of a request at the stage it was made. Names that
    /// we do not know are left aside, as the protocol demands; of a name that
    /// is given twice the first counts.
    pub fn from_attributes<'a>(
        attributes: impl IntoIterator<Item = (impl Into<Name>, &'a str)>,
        stage: Stage,
    ) -> Self {
        let mut facts = Self::default();
        let mut is_ehlo = false;
        for (name, value) in attributes {
            let fact = match name.into() {
                Name::Of(fact) => fact,
                Name::Other => continue,
                Name::ProtocolState => {
                    is_ehlo |= value == "EHLO";
                    continue;
                }
            };
            if facts.has_text(fact) {
                continue;
            }
            if !value.is_empty() {
                facts.put_attribute(fact, value, stage);
            } else if fact == Fact::Sender && stage >= Stage::Mail {
                facts.put(Fact::Sender, NULL_SENDER);
            }
        }
        if stage == Stage::Helo {
            facts.put(Fact::ProtocolName, if is_ehlo { "ESMTP" } else { "SMTP" });
        }
        facts.fold();
        facts
    }

    fn put_attribute(&mut self, fact: Fact, value: &str, stage: Stage) {
        match fact {
            // What Postfix writes for a number or address it does not have.
            Fact::ClientPort | Fact::ServerPort if matches!(value, "unknown" | "0") => {}
            Fact::ClientAddress | Fact::ServerAddress if value == "unknown" => {}
            Fact::AnnouncedSize if value == "0" => {}
            Fact::AnnouncedSize if stage == Stage::Message => self.put(Fact::Size, value),
            Fact::RecipientCount if stage < Stage::Data && value == "0" => {}
            Fact::CcertSubject | Fact::CcertIssuer | Fact::SaslSender if value.contains('+') => {
                self.put(fact, &decode_xtext(value));
            }
            // Still `SMTP`, whatever the greeting is.
            Fact::ProtocolName if stage < Stage::Mail => {}
            Fact::HeloName if stage == Stage::Helo => self.put(fact, &kept_helo(value)),
            _ => self.put(fact, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str, stage: Stage) -> Facts {
        let attributes: Vec<Attribute<'_>> = text.lines().filter_map(|line| line.split_once('=')).collect();
        Facts::from_attributes(attributes, stage)
    }

    #[test]
    fn an_empty_attribute_is_not_known() {
        let facts =
            facts("sasl_username=\nhelo_name=\nclient_port=unknown\nsize=0\nrecipient_count=0", Stage::Rcpt);
        for fact in
            [Fact::SaslUsername, Fact::HeloName, Fact::ClientPort, Fact::AnnouncedSize, Fact::RecipientCount]
        {
            assert_eq!(facts.text(fact), None, "{}", fact.name());
        }
    }

    #[test]
    fn plaintext_has_a_key_of_no_bits() {
        let facts = facts("encryption_keysize=0\nencryption_protocol=", Stage::Rcpt);
        assert_eq!(facts.number(Fact::EncryptionKeysize), Some(0));
        assert_eq!(facts.text(Fact::EncryptionProtocol), None);
    }

    #[test]
    fn a_greeting_is_the_same_at_its_own_step_and_later() {
        let greeted = |text: &str, stage| {
            let facts = facts(text, stage);
            [Fact::HeloName, Fact::ProtocolName].map(|fact| facts.text(fact).map(str::to_owned))
        };
        let ehlo = greeted("protocol_state=EHLO\nprotocol_name=SMTP\nhelo_name=a@b (c)", Stage::Helo);
        assert_eq!(ehlo, greeted("protocol_state=RCPT\nprotocol_name=ESMTP\nhelo_name=a?b??c?", Stage::Rcpt));
        let helo = greeted("protocol_state=HELO\nprotocol_name=SMTP\nhelo_name=b\u{fc}cher", Stage::Helo);
        assert_eq!(
            helo,
            greeted("protocol_state=RCPT\nprotocol_name=SMTP\nhelo_name=b\u{fc}cher", Stage::Rcpt)
        );
        let connect = greeted("protocol_state=CONNECT\nprotocol_name=SMTP\nhelo_name=", Stage::Connect);
        assert_eq!(connect, [None, None]);
    }

    #[test]
    fn an_empty_sender_is_the_null_sender_behind_mail_only() {
        assert_eq!(facts("sender=", Stage::Rcpt).text(Fact::Sender), Some("<>"));
        assert_eq!(facts("sender=", Stage::Helo).text(Fact::Sender), None);
    }

    #[test]
    fn a_value_keeps_its_equal_signs_and_the_first_of_two_counts() {
        let facts = facts("helo_name=a=b=c\nhelo_name=other\nccert_subject=client+20name", Stage::Rcpt);
        assert_eq!(facts.text(Fact::HeloName), Some("a=b=c"));
        assert_eq!(facts.text(Fact::CcertSubject), Some("client name"));
    }

    #[test]
    fn the_size_is_announced_until_the_end_of_the_message() {
        let early = facts("size=100", Stage::Rcpt);
        assert_eq!((early.number(Fact::AnnouncedSize), early.number(Fact::Size)), (Some(100), None));
        let late = facts("size=100", Stage::Message);
        assert_eq!((late.number(Fact::AnnouncedSize), late.number(Fact::Size)), (None, Some(100)));
    }
}
