//! What the name of a file tells: its endings as a system reads them, and the ways
//! in which one is hidden from whoever looks at it.
