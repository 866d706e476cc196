//! Who vouches for a mail: what the owners of its domains have written into the DNS.
//!
//! Each file asks through a [`crate::dns::Resolver`] alone, and answers in words that
//! checks, texts and header fields share. No rule is known here, and no socket.

mod spf;

pub use spf::SpfAnswer;
pub use spf::SpfIdentity;
pub use spf::SpfQuestion;
pub use spf::SpfResult;
