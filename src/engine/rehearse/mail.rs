//! The mail of a test: an ordinary inbound one but for what is given.

use super::moment;
use crate::content;
use crate::content::Budget;
use crate::content::File;
use crate::content::Kind;
use crate::content::Stop;
use crate::engine::usual_direction;
use crate::facts::DayTime;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Marks;
use crate::facts::NULL_SENDER;
use crate::facts::Reason;
use crate::lookup::Given as Answer;
use crate::message;
use crate::message::Message;
use crate::message::file_name;
use crate::policy::Given;
use crate::policy::GivenFile;
use crate::policy::Policy;
use std::iter;
use std::path::Path;
use std::sync::Arc;

/// What is not given. The address is of a network that examples do not use
/// (RFC 2544), so that no list of theirs has it by accident.
const ORDINARY: &[(Fact, &str)] = &[
    (Fact::ClientAddress, "198.18.0.25"),
    (Fact::ClientName, "mail.sender.example"),
    (Fact::ReverseClientName, "mail.sender.example"),
    (Fact::ServerAddress, "192.0.2.25"),
    (Fact::ServerPort, "25"),
    (Fact::Listener, "default"),
    (Fact::HeloName, "mail.sender.example"),
    (Fact::ProtocolName, "esmtp"),
    (Fact::EncryptionKeysize, "0"),
    (Fact::Sender, "someone@sender.example"),
];

const RECIPIENT: &str = "user@example.com";

const HEADERS: &[&str] = &[
    "From: Someone <someone@sender.example>",
    "To: user@example.com",
    "Subject: an ordinary mail",
    "Date: Wed, 18 Nov 2026 12:00:00 +0000",
    "Message-ID: <ordinary@sender.example>",
];

const BODY: &str = "Nothing out of the ordinary.\r\n";

const BOUNDARY: &str = "gatepost-test-parts";

/// Of each attachment.
const CONTENT: &str = "content";

/// One mail, to be sent any number of times.
pub(super) struct Mail {
    /// But for what each sending or recipient has of its own.
    pub(super) facts: Facts,
    pub(super) recipients: Vec<String>,
    pub(super) marks: Marks,
    /// The reasons for which its keys are listed.
    pub(super) listed: Vec<String>,
    /// Whether what is greylisted has waited.
    pub(super) has_waited: bool,
    message: Arc<Message>,
    /// How many of the message's fields are the test's own; those behind them
    /// only hold the attachments together.
    pub(super) fields: usize,
    given: Vec<(Fact, Option<String>)>,
    /// What checks come to, whatever the mail is like.
    pub(super) answers: Vec<Answer>,
}

impl Mail {
    pub(super) fn make(
        given: &Given,
        now: jiff::civil::DateTime,
        policy: &Policy,
        base: &Path,
    ) -> Result<Self, String> {
        let mut facts = Facts::default();
        let now = moment(now);
        facts.set_moment(now, &DayTime::of(&now, &jiff::tz::TimeZone::UTC));
        for (fact, value) in ORDINARY {
            facts.set(*fact, value);
        }
        apply(&given.facts, &mut facts);
        let is_encrypted = facts.is_known(Fact::EncryptionProtocol) || facts.is_known(Fact::EncryptionCipher);
        if is_encrypted && facts.number(Fact::EncryptionKeysize) == Some(0) {
            facts.unset(Fact::EncryptionKeysize);
        }
        if !given.facts.iter().any(|(fact, _)| *fact == Fact::Direction) {
            facts.set_direction(usual_direction(&facts, &policy.lists));
        }
        let recipients = match &given.recipients {
            Some(recipients) => recipients.clone(),
            None => vec![facts.text(Fact::Recipient).unwrap_or(RECIPIENT).to_owned()],
        };
        let (eml, fields) = eml(given, base)?;
        let mut message = Message::from_eml(&eml);
        if given.message.is_none() {
            give_files(given.attachments.as_deref().unwrap_or_default(), &mut message);
        }
        let message = Arc::new(message);
        let fields = fields.unwrap_or(message.headers().len());
        let marks = marks(given, policy);
        Ok(Self {
            facts,
            recipients,
            marks,
            listed: given.listed.clone(),
            has_waited: given.greylist == Some(false),
            message,
            fields,
            given: given.facts.clone(),
            answers: given.answers.clone(),
        })
    }

    /// What tells this sending from the others of its test.
    pub(super) fn number(&self, facts: &mut Facts, number: u64) {
        facts.set_number(Fact::ClientPort, 1024 + number % 60_000);
        facts.set(Fact::Instance, &format!("test.{number:x}"));
        facts.set(Fact::QueueId, "4TESTqueueID");
        apply(&self.given, facts);
    }

    /// What is known once the recipients are.
    pub(super) fn accepted(&self, facts: &mut Facts, accepted: Vec<String>) {
        let refused = self.recipients.len() - accepted.len();
        facts.set_number(Fact::RecipientCount, accepted.len() as u64);
        facts.set_number(Fact::RefusedRecipients, refused as u64);
        facts.unset(Fact::Recipient);
        facts.recipients = accepted;
        self.given_again(facts, &[Fact::RecipientCount, Fact::RefusedRecipients]);
    }

    /// What is known once the message is.
    pub(super) fn content(&self, facts: &mut Facts, policy: &Policy) {
        facts.set_number(Fact::Size, self.message.size());
        facts.set_number(Fact::HeaderCount, self.message.headers().count());
        facts.set_number(Fact::HeaderSize, self.message.headers().size());
        facts.message = Some(Arc::clone(&self.message));
        policy.derived.add_to(facts);
        self.given_again(facts, &[Fact::Size, Fact::HeaderCount, Fact::HeaderSize]);
    }

    /// What a test says goes before what was counted.
    fn given_again(&self, facts: &mut Facts, which: &[Fact]) {
        let given: Vec<_> = self.given.iter().filter(|(fact, _)| which.contains(fact)).cloned().collect();
        apply(&given, facts);
    }

    /// Name, number among those of the name, and line of each of its own fields.
    pub(super) fn lines(&self) -> impl Iterator<Item = (String, u32, String)> {
        let headers = self.message.headers().iter().take(self.fields);
        headers.map(|header| (header.name.clone(), header.occurrence, header.line()))
    }
}

fn apply(given: &[(Fact, Option<String>)], facts: &mut Facts) {
    for (fact, value) in given {
        match value.as_deref() {
            Some("") if *fact == Fact::Sender => facts.set(*fact, NULL_SENDER),
            Some(value) => facts.set(*fact, value),
            None => facts.unset(*fact),
        }
    }
}

/// Given tags and points are the connection's.
fn marks(given: &Given, policy: &Policy) -> Marks {
    let mut marks = Marks::default();
    for name in &given.tags {
        let tag = policy.tags.iter().position(|known| known == name);
        tag.and_then(|tag| tag.try_into().ok()).into_iter().for_each(|tag| marks.add_tag(tag));
    }
    // No rule gave them, so no rule's name stands for them in `{reasons}`.
    marks.reasons.extend(given.score.map(|points| Reason { rule: u32::MAX, points }));
    marks
}

/// The message, and how many of its fields are the test's own if not all are.
fn eml(given: &Given, base: &Path) -> Result<(Vec<u8>, Option<usize>), String> {
    let mut eml = String::new();
    if let Some((name, _)) = &given.message {
        let path = base.join(name);
        let file = std::fs::read(&path).map_err(|error| format!("{name} can't be read: {error}"))?;
        lines(given.headers.as_deref().unwrap_or_default(), &mut eml);
        return Ok(([eml.into_bytes(), file].concat(), None));
    }
    match &given.headers {
        Some(headers) => lines(headers, &mut eml),
        None => lines(HEADERS, &mut eml),
    }
    let own = given.headers.as_ref().map_or(HEADERS.len(), Vec::len);
    let body = given.body.as_deref().unwrap_or(BODY);
    let Some(attachments) = &given.attachments else {
        eml += "\r\n";
        eml += body;
        return Ok((eml.into_bytes(), Some(own)));
    };
    eml += "MIME-Version: 1.0\r\n";
    eml += &format!("Content-Type: multipart/mixed; boundary={BOUNDARY}\r\n\r\n");
    eml += &format!("--{BOUNDARY}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n");
    for file in attachments {
        let part = outermost(file);
        let media_type = part.media_type.as_deref().unwrap_or("application/octet-stream");
        let name = part.name.as_deref().map(|name| format!("; {}", file_name(name))).unwrap_or_default();
        eml += &format!(
            "--{BOUNDARY}\r\nContent-Type: {media_type}\r\n\
             Content-Disposition: attachment{name}\r\n\r\n{CONTENT}\r\n"
        );
    }
    eml += &format!("--{BOUNDARY}--\r\n");
    Ok((eml.into_bytes(), Some(own)))
}

/// What is said of files takes the place of what was found in them. The parts of the
/// mail are its text, then one for each.
fn give_files(given: &[GivenFile], message: &mut Message) {
    let parts = message.parts().iter().zip(0..).filter(|(part, _)| part.depth == 1);
    let parts: Vec<u32> = parts.map(|(_, number)| number).skip(1).collect();
    for (file, number) in given.iter().zip(parts).filter(|(file, _)| !file.is_plain()) {
        let part = message.parts().get(number as usize);
        let mut files =
            message.files().filter(|(_, other)| part.is_some_and(|part| std::ptr::eq(part, *other)));
        let found = files.next().map(|(file, _)| file.clone()).unwrap_or_default();
        drop(files);
        message.give_files(number, said(file, found));
    }
}

/// The outermost first, as it was found but for what is said.
fn said(file: &GivenFile, found: File) -> Vec<File> {
    let mut chain: Vec<_> = iter::successors(Some(file), |file| file.inside.as_deref()).collect();
    chain.reverse();
    let mut files: Vec<File> = Vec::with_capacity(chain.len());
    for (said, place) in chain.iter().zip(0..) {
        let mut file = if place == 0 { found.clone() } else { packed(said) };
        if (place as usize) + 1 < chain.len() {
            file.kinds = Kind::Archive.into();
        }
        file.within = u32::checked_sub(place, 1);
        file.kinds = said.kinds.unwrap_or(file.kinds);
        file.size = said.size.unwrap_or(file.size);
        file.sha256 = said.sha256.or(file.sha256);
        files.push(file);
    }
    files
}

/// A file in an archive, as it would be found.
fn packed(said: &GivenFile) -> File {
    let names: Vec<_> = said.name.iter().cloned().collect();
    let given = content::Given { bytes: CONTENT.as_bytes(), names: &names, media_type: None };
    let mut files = Vec::new();
    content::examine(given, message::Wants::ALL.content, &mut Budget::new(Stop::default()), &mut files);
    files.into_iter().next().unwrap_or_default()
}

fn outermost(file: &GivenFile) -> &GivenFile {
    iter::successors(Some(file), |file| file.inside.as_deref()).last().unwrap_or(file)
}

fn lines(headers: &[impl AsRef<str>], eml: &mut String) {
    for header in headers {
        eml.push_str(header.as_ref().trim_end());
        eml.push_str("\r\n");
    }
}
