//! Pods that wait behind scheduling gates, and the deadlines of pods.

use super::Entry;

const fn entry(name: &'static str, script: &'static str) -> Entry {
    Entry {
        name,
        controllers: false,
        script,
    }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        "gates_at_creation",
        r#"
        POST pods {"metadata":{"name":"a"},"spec":{"schedulingGates":[{"name":"x.io/queue"},{"name":"other"}],"containers":[{"name":"c","image":"i:1"}],"serviceAccountName":"default","automountServiceAccountToken":false}} => /code /status /spec/schedulingGates /metadata/generation
        TABLE pods/a => /rows/0/cells/0 /rows/0/cells/1 /rows/0/cells/2
        POST pods {"metadata":{"name":"b"},"spec":{"schedulingGates":[{"name":"q"}],"nodeName":"n","containers":[{"name":"c","image":"i:1"}],"serviceAccountName":"default","automountServiceAccountToken":false}} => /code /reason /message /details/causes
        POST pods {"metadata":{"name":"c"},"spec":{"schedulingGates":[{"name":"q"},{"name":"q"},{"name":"not ok"},{"name":""}],"containers":[{"name":"c","image":"i:1"}],"serviceAccountName":"default","automountServiceAccountToken":false}} => /code /reason /message /details/causes"#,
    ),
    entry(
        "gates_are_only_removed",
        r#"
        -POST pods {"metadata":{"name":"a"},"spec":{"schedulingGates":[{"name":"q"},{"name":"r"},{"name":"s"}],"containers":[{"name":"c","image":"i:1"}],"serviceAccountName":"default","automountServiceAccountToken":false}}
        MERGE pods/a {"spec":{"schedulingGates":[{"name":"q"},{"name":"r"},{"name":"s"},{"name":"t"}]}} => /code /reason /message /details/causes
        MERGE pods/a {"spec":{"schedulingGates":[{"name":"t"}]}} => /code /reason /message /details/causes
        STRATEGIC pods/a {"spec":{"schedulingGates":[{"name":"r","$patch":"delete"}]}} => /code /spec/schedulingGates /status/conditions /metadata/generation
        JSONPATCH pods/a [{"op":"test","path":"/spec/schedulingGates/0/name","value":"q"},{"op":"remove","path":"/spec/schedulingGates/0"}] => /code /spec/schedulingGates
        POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}}
        MERGE pods/a {"spec":{"schedulingGates":null}} => /code /spec/schedulingGates /status/conditions
        MERGE pods/a {"spec":{"schedulingGates":[{"name":"q"}]}} => /code /reason /message /details/causes
        POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}} => /code /status
        MERGE pods/a {"spec":{"schedulingGates":[{"name":"q"}]}} => /code /reason /details/causes/0/field"#,
    ),
    entry(
        "gated_pods_may_be_narrowed",
        r#"
        -POST pods {"metadata":{"name":"a"},"spec":{"schedulingGates":[{"name":"q"}],"nodeSelector":{"pool":"x"},"containers":[{"name":"c","image":"i:1"}],"serviceAccountName":"default","automountServiceAccountToken":false}}
        MERGE pods/a {"spec":{"nodeSelector":{"disk":"ssd"}}} => /code /spec/nodeSelector
        MERGE pods/a {"spec":{"nodeSelector":{"pool":"y"}}} => /code /reason /message /details/causes
        MERGE pods/a {"spec":{"nodeSelector":{"pool":null}}} => /code /reason /message /details/causes
        MERGE pods/a {"spec":{"nodeSelector":null}} => /code /reason /message /details/causes
        MERGE pods/a {"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"In","values":["a","b"]}]}]}}}}} => /code /spec/affinity
        MERGE pods/a {"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"In","values":["a","b"]},{"key":"disk","operator":"Exists"}]}]}}}}} => /code /spec/affinity
        MERGE pods/a {"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"Exists"}]}]}}}}} => /code /reason /details/causes/0/field /details/causes/0/reason
        MERGE pods/a {"spec":{"affinity":null}} => /code /reason /details/causes/0/field /details/causes/0/reason
        MERGE pods/a {"spec":{"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"labelSelector":{"matchLabels":{"a":"b"}},"topologyKey":"kubernetes.io/hostname"}]}}}} => /code /reason /details/causes/0/field /details/causes/0/reason
        MERGE pods/a {"spec":{"schedulingGates":null,"nodeSelector":{"last":"one"}}} => /code /spec/nodeSelector /spec/schedulingGates
        MERGE pods/a {"spec":{"nodeSelector":{"more":"x"}}} => /code /reason /details/causes/0/field /details/causes/0/reason"#,
    ),
    entry(
        "deadlines_are_only_lowered",
        r#"
        -POST pods @pod
        MERGE pods/a {"spec":{"activeDeadlineSeconds":0}} => /code /reason /message /details/causes
        MERGE pods/a {"spec":{"activeDeadlineSeconds":100}} => /code /spec/activeDeadlineSeconds
        MERGE pods/a {"spec":{"activeDeadlineSeconds":50}} => /code /spec/activeDeadlineSeconds
        MERGE pods/a {"spec":{"activeDeadlineSeconds":51}} => /code /reason /message /details/causes
        MERGE pods/a {"spec":{"activeDeadlineSeconds":null}} => /code /reason /message /details/causes
        MERGE pods/a {"spec":{"activeDeadlineSeconds":-1}} => /code /reason /message /details/causes
        MERGE pods/a {"spec":{"activeDeadlineSeconds":3000000000}} => /code /reason /message /details/causes
        STRATEGIC pods/a {"spec":{"activeDeadlineSeconds":1}} => /code /spec/activeDeadlineSeconds
        JSONPATCH pods/a [{"op":"replace","path":"/spec/activeDeadlineSeconds","value":2}] => /code /reason /details/causes
        -POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}}
        MERGE pods/a {"spec":{"activeDeadlineSeconds":9}} => /code /reason /details/causes
        POST pods {"metadata":{"name":"b"},"spec":{"activeDeadlineSeconds":0,"containers":[{"name":"c","image":"i:1"}],"serviceAccountName":"default","automountServiceAccountToken":false}} => /code /reason /message /details/causes"#,
    ),
    entry(
        "pod_affinity_is_checked",
        r#"
        POST pods {"metadata":{"name":"a"},"spec":{"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"labelSelector":{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"k","operator":"In","values":["v"]}]},"topologyKey":"kubernetes.io/hostname"}]}},"containers":[{"name":"c","image":"i:1","resources":{"limits":{"x.io/slot":"1"}}}],"serviceAccountName":"default","automountServiceAccountToken":false}} => /code /spec/affinity /spec/containers/0/resources"#,
    ),
];
