//! Who vouches for a mail: what the owners of its domains have written into the DNS.
//!
//! Each file asks through a [`crate::dns::Resolver`] alone, and answers in words that
//! checks, texts and header fields share. No rule is known here, and no socket.

mod arc;
mod dkim;
mod dmarc;
mod key;
mod results;
mod spf;
mod tags;

pub use arc::ArcChain;
pub use arc::ArcResult;
pub use arc::verify as verify_arc;
pub use dkim::DkimResult;
pub use dkim::DkimSignature;
pub use dkim::verify as verify_dkim;
pub use dmarc::Dmarc;
pub use dmarc::DmarcPolicy;
pub use dmarc::DmarcResult;
pub use dmarc::Sender;
pub use dmarc::author;
pub use dmarc::evaluate as evaluate_dmarc;
pub use results::AuthenticationResults;
pub use spf::SpfAnswer;
pub use spf::SpfIdentity;
pub use spf::SpfQuestion;
pub use spf::SpfResult;

#[cfg(test)]
mod tests;
