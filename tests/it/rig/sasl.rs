//! Logins for a private Postfix: Cyrus SASL inside smtpd, which looks passwords
//! up in a file of its own. No daemon is needed.

use super::program;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub(crate) const PASSWORD: &str = "open sesame";

/// What a login without a realm gets.
const REALM: &str = "test.example";

/// Lines for main.cf: AUTH is offered on every port.
pub(super) fn main_cf(etc: &Path) -> String {
    format!(
        "smtpd_sasl_auth_enable = yes\ncyrus_sasl_config_path = {}/sasl\nsmtpd_sasl_local_domain = {REALM}\n\
         smtpd_sasl_security_options = noanonymous\n\
         smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination\n",
        etc.display()
    )
}

/// Lets people of `test.example` log in, all with one [`PASSWORD`]. Debian's smtpd
/// looks below the configuration's folder, whatever `cyrus_sasl_config_path` says.
pub(super) fn write(etc: &Path, users: &[&str]) {
    let folder = etc.join("sasl");
    fs::create_dir(&folder).unwrap();
    let passwords = folder.join("passwords");
    let file = passwords.to_str().unwrap();
    for user in users {
        let args = ["-p", "-c", "-f", file, "-u", REALM, user];
        let output = program::try_run("/usr/sbin/saslpasswd2", args, PASSWORD);
        assert!(output.status.success(), "saslpasswd2: {}", program::both(&output));
    }
    // smtpd reads it as user postfix.
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o644)).unwrap();
    let conf = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {file}\n"
    );
    fs::write(folder.join("smtpd.conf"), conf).unwrap();
}
