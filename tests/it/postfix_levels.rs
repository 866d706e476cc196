//! Limits of several levels: what one customer's domains and servers let through
//! counts for all of them; and mails that no limit of theirs would ever let through.

use crate::rig::*;

/// Three recipients a mailbox, four a domain, five a customer.
const LEVELS: &str = r#"
lists:
  owners: {of: address, to: parent, entries: {sender.example: acme, other.example: acme}}
  totals: {of: address, to: limits, entries: {acme: [5/1h strict], sender.example: [4/1h strict]}}
rules:
  - name: levels
    when: {rate: {key: sender, limits: [3/1h strict], parents: {list: owners, limits: {list: totals, else: none}}}}
    then: {defer_if_permit: "4.7.1 {key}: {used} of {allowed}"}
"#;

#[test]
fn a_domain_and_a_customer_hold_all_their_mailboxes() {
    let Some(rig) = Rig::start(LEVELS) else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    for recipient in [BOB, CAROL, "dave@test.example"] {
        client.rcpt(recipient).expect(250);
    }
    client.rcpt("erin@test.example").expect_text(450, "alice@sender.example: 4 of 3");
    client.data(MAIL).expect(250);
    // Another mailbox of the domain has one left, which what was refused did not take.
    client.mail("zoe+news@sender.example").expect(250);
    client.rcpt(BOB).expect(250);
    for _ in 0..3 {
        client.rcpt(CAROL).expect_text(450, "sender.example: 5 of 4");
    }
    client.data(MAIL).expect(250);
    // So has another domain of the customer.
    client.mail("zoe@other.example").expect(250);
    client.rcpt(BOB).expect(250);
    client.rcpt(CAROL).expect_text(450, "acme: 6 of 5");
    client.data(MAIL).expect(250);
    client.deliver("zoe@elsewhere.example", &[BOB], MAIL).expect(250);
    rig.sink.messages(4);
    rig.gatepost.wait_lines(1, "because=.*`acme` above `zoe@other.example` has used 6 of 5");
}

/// Given up, it is as if it had not been: at every level.
#[test]
fn a_mail_that_is_refused_elsewhere_costs_no_level() {
    let rules = format!("{LEVELS}  - {{name: nobody, when: {{recipient: nobody@}}, then: reject}}\n");
    let Some(rig) = Rig::start(&rules) else { return };
    let mut client = rig.client();
    for sender in [ALICE, "zoe@sender.example"] {
        client.mail(sender).expect(250);
        for _ in 0..5 {
            client.rcpt("nobody@test.example").expect(554);
        }
        client.rcpt(BOB).expect(250);
        client.rcpt(CAROL).expect(250);
        client.data(MAIL).expect(250);
    }
    client.mail(ALICE).expect(250);
    client.rcpt(BOB).expect_text(450, "sender.example: 5 of 4");
}

const BYTES: &str = r#"
rules:
  - name: bytes
    stage: mail
    when:
      rate: {key: sender, count: bytes, limits: [200K/1h], too_large: "{announced_size} bytes: {key} has {burst} at once"}
    then: {defer: "4.7.1 {key} has had {used} bytes of {rate}"}
"#;

/// By what MAIL says: at MAIL itself where Postfix asks there, else at RCPT.
#[test]
fn a_mail_larger_than_its_limit_is_refused_for_good() {
    let Some(rig) = Rig::start(BYTES) else { return };
    let ports = rig.postfix.ports;
    for (port, asks_at_mail, sender) in [(ports.early, true, ALICE), (ports.mx, false, "zoe@sender.example")]
    {
        let mut client = Smtp::greeted(port);
        let begin = |client: &mut Smtp, size: u64| {
            let answer = client.say(&format!("MAIL FROM:<{sender}> SIZE={size}"));
            if asks_at_mail && answer.code != 250 {
                return answer;
            }
            answer.expect(250);
            client.rcpt(BOB)
        };
        for _ in 0..2 {
            let answer = begin(&mut client, 300_000);
            answer.expect_text(552, &format!("300000 bytes: {sender} has 204800 at once"));
            client.say("RSET").expect(250);
        }
        // It has cost nothing; what has room later is told to come back.
        begin(&mut client, 150_000).expect(250);
        client.data(MAIL).expect(250);
        // 57 of them come back each second.
        begin(&mut client, 150_000).expect_text(450, " bytes of 200K/1h");
    }
    rig.sink.messages(2);
}
