//! What a workspace is: a pod with marks. Requests become pods, pods become statuses, statuses become decisions.

pub mod marks;
