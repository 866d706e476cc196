//! Policy requests as Postfix 3.7 sends them at RCPT, each another one.
//!
//! A template is built once; of every request only digits of fixed width are
//! written anew, so that the client costs little beside what it measures.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// How many different ones there are of each.
const CLIENTS: u32 = 5_000;
const SENDERS: u32 = 20_000;
const SENDER_DOMAINS: u32 = 2_000;
/// Mailboxes of a provider: as many that none gets more mail than one does.
const RECIPIENTS: u32 = 100_000;
const USERS: u32 = 500;
/// As in the mail of a provider.
const SUBMISSION_EVERY: u32 = 16;

/// Numbers all requests of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Copy, Debug)]
enum Field {
    Client,
    /// An octet of the client's address, the first being 0.
    Octet(u32),
    Port,
    Recipient,
    Seed,
    Sender,
    SenderDomain,
    Sequence,
    User,
}

/// Whom requests come from.
#[derive(Clone, Copy, Debug)]
enum From {
    Outside,
    /// So many who have logged in, with the digits of their number.
    Users(u32, usize),
}

/// A request to be changed in place.
#[derive(Clone, Debug)]
struct Template {
    bytes: Vec<u8>,
    slots: Vec<(usize, usize, Field)>,
    users: u32,
}

/// An endless supply of requests for one connection.
#[derive(Clone, Debug)]
pub struct Requests {
    inbound: Template,
    submission: Template,
    /// One request of so many comes from a user.
    submission_every: u32,
    seed: u32,
}

impl Requests {
    /// Two processes with different seeds give no equal `instance`.
    pub fn new(seed: u32) -> Self {
        let submission = Template::new(From::Users(USERS, 4));
        Self { inbound: Template::new(From::Outside), submission, submission_every: SUBMISSION_EVERY, seed }
    }

    /// All from so many users who have logged in, up to 10^8.
    pub fn of_users(seed: u32, users: u32) -> Self {
        let submission = Template::new(From::Users(users, 8));
        Self { submission, submission_every: 1, ..Self::new(seed) }
    }

    pub fn next(&mut self) -> &[u8] {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let every = self.submission_every;
        let template = if number % every == 7 % every { &mut self.submission } else { &mut self.inbound };
        template.fill(number, self.seed);
        &template.bytes
    }
}

impl Template {
    fn new(from: From) -> Self {
        use Field::*;
        let (submission, users, digits) = match from {
            From::Outside => (false, 1, 0),
            From::Users(users, digits) => (true, users, digits),
        };
        let mut new = Self { bytes: Vec::new(), slots: Vec::new(), users };
        new.text("request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=");
        for octet in 0..4 {
            new.text(if octet == 0 { "" } else { "." }).slot(3, Octet(octet));
        }
        new.text("\nclient_name=mail-").slot(5, Client).text(".sender-").slot(4, SenderDomain);
        new.text(".example\nclient_port=").slot(5, Port);
        new.text("\nreverse_client_name=mail-").slot(5, Client).text(".sender-").slot(4, SenderDomain);
        new.text(".example\nserver_address=192.0.2.25\nserver_port=");
        new.text(if submission { "587" } else { "25" });
        new.text("\nhelo_name=mail-").slot(5, Client).text(".sender-").slot(4, SenderDomain);
        if submission {
            new.text(".example\nsender=login-").slot(digits, User).text("@example.com");
        } else {
            new.text(".example\nsender=person-").slot(5, Sender).text("@sender-").slot(4, SenderDomain);
            new.text(".example");
        }
        new.text("\nrecipient=user-").slot(6, Recipient).text("@example.com\n");
        new.text("recipient_count=0\nqueue_id=\ninstance=1b2c.").slot(8, Seed).text(".5f2a.");
        new.slot(8, Sequence).text("\nsize=4211\netrn_domain=\nstress=\n");
        if submission {
            new.text("sasl_method=PLAIN\nsasl_username=login-").slot(digits, User).text("@example.com\n");
        } else {
            new.text("sasl_method=\nsasl_username=\n");
        }
        new.text("sasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\n");
        new.text("ccert_pubkey_fingerprint=\nencryption_protocol=TLSv1.3\n");
        new.text("encryption_cipher=TLS_AES_256_GCM_SHA384\nencryption_keysize=256\npolicy_context=\n\n");
        new
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    fn slot(&mut self, width: usize, field: Field) -> &mut Self {
        self.slots.push((self.bytes.len(), width, field));
        self.bytes.resize(self.bytes.len() + width, b'0');
        self
    }

    fn fill(&mut self, number: u32, seed: u32) {
        let mixed = mix(u64::from(number) << 32 | u64::from(seed));
        let client = (mixed as u32) % CLIENTS;
        let sender = ((mixed >> 20) as u32) % SENDERS;
        for (at, width, field) in &self.slots {
            let (value, base) = match field {
                Field::Client => (client, 10),
                // Three digits each, and public addresses only.
                Field::Octet(0) => (193, 10),
                Field::Octet(1) => (100 + client / 50, 10),
                Field::Octet(2) => (100 + client % 50, 10),
                Field::Octet(_) => (100 + client % 97, 10),
                Field::Port => (10_000 + number % 50_000, 10),
                Field::Recipient => (((mixed >> 40) as u32) % RECIPIENTS, 10),
                Field::Seed => (seed, 16),
                Field::Sender => (sender, 10),
                Field::SenderDomain => (sender % SENDER_DOMAINS, 10),
                Field::Sequence => (number, 16),
                Field::User => (((mixed >> 20) as u32) % self.users, 10),
            };
            write_digits(&mut self.bytes[*at..at + width], value, base);
        }
    }
}

fn write_digits(slot: &mut [u8], mut value: u32, base: u32) {
    for place in slot.iter_mut().rev() {
        *place = b"0123456789abcdef"[(value % base) as usize];
        value /= base;
    }
}

/// The finalizer of splitmix64: spreads counters over all values.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The login of a user, as requests have it.
pub fn login(user: u32) -> String {
    format!("login-{user:08}@example.com")
}
