//! Zones of the DNS that list addresses, domains and other keys (RFC 5782): how they
//! are written down, what their answers mean, and whether they can be believed.
//!
//! Their answers are a stranger's: what is no answer of such a zone counts nothing and
//! has a name of its own. A zone that lists nobody or everybody is found out by its test
//! entries, and not asked until it is well again.

mod examine;
mod filter;
mod health;
mod notation;
mod site;

pub use examine::Examined;
pub use examine::examine;
pub use filter::Filter;
pub use health::Health;
pub use health::Looks;
pub use health::Outcome;
pub use health::Standing;
pub use health::Trouble;
pub use notation::weight;
pub use notation::zone;
pub use site::Kind;
pub use site::MAX_PARTS;
pub use site::Part;
pub use site::Says;
pub use site::Site;
pub use site::SiteQuestion;
