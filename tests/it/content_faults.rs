//! The content of workspaces under faults: killed daemons, lost nodes, two replicas, a store that fails. Containers are
//! processes that outlive the daemons, and what is restored is compared byte for byte.

mod desk;
mod kills;
mod nodes;
mod pods;
mod replicas;
mod s3;
mod stores;
mod tree;
