//! The table of behaviours, second part: update, patch, delete, subresources and garbage collection.

use super::Entry;
use super::entries::entry;

const fn controlled(name: &'static str, script: &'static str) -> Entry {
    Entry {
        name,
        controllers: true,
        script,
    }
}

#[rustfmt::skip]
pub(super) const ENTRIES: &[Entry] = &[
    // Update.
    entry("update_with_current_revision", r#"
        POST secrets {"metadata":{"name":"a"}} => /metadata/resourceVersion
        KEEP rv /metadata/resourceVersion
        PUT secrets/a {"metadata":{"name":"a","resourceVersion":"$rv","labels":{"a":"b"}},"data":{"k":"eA=="}}
        PUT secrets/a {"metadata":{"name":"a","resourceVersion":"$rv"}}
        PUT secrets/a {"metadata":{"name":"a"}}"#),
    entry("update_missing_and_mismatched", r#"
        PUT pods/a @pod
        PUT secrets/a {"metadata":{"name":"b"}}
        PUT secrets/a {"metadata":{}} => /code /reason
        PUT services/a {"metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}} => /code /metadata/name
        PUT /apis/coordination.k8s.io/v1/namespaces/$ns/leases/a {"metadata":{"name":"a"},"spec":{"holderIdentity":"x"}} => /code /metadata/name"#),
    entry("update_lease_needs_revision", r#"
        POST /apis/coordination.k8s.io/v1/namespaces/$ns/leases {"metadata":{"name":"a"},"spec":{"holderIdentity":"x","leaseDurationSeconds":15,"renewTime":"2026-01-01T00:00:00.000000Z"}}
        KEEP rv /metadata/resourceVersion
        PUT /apis/coordination.k8s.io/v1/namespaces/$ns/leases/a {"metadata":{"name":"a"},"spec":{"holderIdentity":"y"}}
        PUT /apis/coordination.k8s.io/v1/namespaces/$ns/leases/a {"metadata":{"name":"a","resourceVersion":"$rv"},"spec":{"holderIdentity":"y"}} => /spec
        PUT /apis/coordination.k8s.io/v1/namespaces/$ns/leases/a {"metadata":{"name":"a","resourceVersion":"$rv"},"spec":{"holderIdentity":"z"}}
        GET /apis/coordination.k8s.io/v1/namespaces/$ns/leases/nope"#),
    entry("update_wrong_uid", r#"
        -POST secrets {"metadata":{"name":"a"}}
        PUT secrets/a {"metadata":{"name":"a","uid":"11111111-1111-1111-1111-111111111111"}}"#),
    entry("update_without_change_keeps_revision", r#"
        POST secrets {"metadata":{"name":"a"},"data":{"k":"eA=="}} => /metadata/resourceVersion
        PUT secrets/a {"metadata":{"name":"a"},"data":{"k":"eA=="}} => /metadata/resourceVersion"#),
    entry("update_dry_run", r#"
        POST secrets {"metadata":{"name":"a"}} => /metadata/resourceVersion
        MERGE secrets/a?dryRun=All {"data":{"k":"eA=="}} => /data
        GET secrets/a => /metadata/resourceVersion /data"#),
    entry("update_pod_spec_is_immutable", r#"
        -POST pods @pod
        MERGE pods/a {"spec":{"hostname":"x"}} => /code /reason /details/causes/0/field /details/causes/0/reason
        STRATEGIC pods/a {"spec":{"containers":[{"name":"d","image":"i"}]}} => /code /reason /details/causes/0/field /details/causes/0/reason
        STRATEGIC pods/a {"spec":{"containers":[{"name":"c","image":"j:2"}]}} => /code /metadata/generation /spec/containers/0/image
        MERGE pods/a {"spec":{"activeDeadlineSeconds":10}} => /code /metadata/generation /spec/activeDeadlineSeconds
        MERGE pods/a {"spec":{"terminationGracePeriodSeconds":5}} => /code
        MERGE pods/a {"spec":{"nodeName":"$ns"}} => /code /reason
        MERGE pods/a {"metadata":{"labels":{"x":"y"}}} => /code /metadata/generation"#),
    entry("update_service_keeps_address", r#"
        POST services {"metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}} => /spec/clusterIP
        KEEP ip /spec/clusterIP
        PUT services/a {"metadata":{"name":"a"},"spec":{"ports":[{"port":81}]}} => /spec
        MERGE services/a {"spec":{"clusterIP":"10.96.0.77"}} => /code /reason /details/causes/0/field
        POST services {"metadata":{"name":"b"},"spec":{"clusterIP":"$ip","ports":[{"port":80}]}} => /code /reason /details/causes/0/field
        POST services {"metadata":{"name":"c"},"spec":{"clusterIP":"nonsense","ports":[{"port":80}]}} => /code /reason /details/causes/0/field"#),
    entry("update_headless_service", r#"
        POST services {"metadata":{"name":"a"},"spec":{"clusterIP":"None","selector":{"x":"y"},"ports":[{"port":80,"targetPort":8080}]}} => /spec
        PUT services/a {"metadata":{"name":"a"},"spec":{"selector":{"x":"y"},"ports":[{"port":81}]}} => /spec
        MERGE services/a {"spec":{"ports":[{"port":82}]}} => /spec
        MERGE services/a {"spec":{"clusterIP":"10.96.0.77"}} => /code /reason /details/causes/0/field
        MERGE services/a {"spec":{"clusterIP":null}} => /code /spec/clusterIP
        POST services {"metadata":{"name":"b"},"spec":{"ports":[{"port":80}]}} => /code
        MERGE services/b {"spec":{"clusterIP":"None"}} => /code /reason /details/causes/0/field
        POST services {"metadata":{"name":"c"},"spec":{"clusterIP":"None","selector":{"x":"y"}}} => /code /spec/ports
        -DELETE services/a
        POST services {"metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}} => /code /spec/type"#),
    entry("update_immutable_data", r#"
        -POST secrets {"metadata":{"name":"a"},"data":{"k":"eA=="},"immutable":true}
        MERGE secrets/a {"data":{"k":"eQ=="}}
        MERGE secrets/a {"immutable":false} => /code /details/causes/0/field
        -POST secrets {"metadata":{"name":"b"}}
        MERGE secrets/b {"type":"other"}"#),
    entry("update_metadata_is_immutable", r#"
        -POST secrets {"metadata":{"name":"a"}}
        MERGE secrets/a {"metadata":{"name":"b"}}
        MERGE secrets/a {"metadata":{"namespace":"b"}} => /code /reason
        MERGE secrets/a {"metadata":{"uid":"11111111-1111-1111-1111-111111111111"}} => /code /reason
        MERGE secrets/a {"metadata":{"creationTimestamp":"2001-01-01T00:00:00Z"}} => /metadata/resourceVersion
        MERGE secrets/a {"metadata":{"uid":null,"creationTimestamp":null}} => /code /metadata/uid /metadata/creationTimestamp"#),
    // Patch.
    entry("patch_merge", r#"
        -POST secrets {"metadata":{"name":"a","labels":{"a":"1","b":"2"}},"data":{"k":"eA=="}}
        MERGE secrets/a {"metadata":{"labels":{"a":null,"c":"3"}},"data":null}
        MERGE secrets/nope {}
        MERGE secrets/a [] => /code /reason
        MERGE secrets/a { => /code /reason
        MERGE secrets/a {"metadata":{"labels":{"a":"?"}}} => /code /reason /details/causes/0/field
        MERGE secrets/a {"metadata":{"labels":{"a":5}}} => /code /reason /details/causes/0/field"#),
    entry("patch_merge_with_revision", r#"
        POST secrets {"metadata":{"name":"a"}} => /metadata/resourceVersion
        KEEP rv /metadata/resourceVersion
        MERGE secrets/a {"metadata":{"resourceVersion":"$rv","labels":{"a":"1"}}} => /code /metadata/labels
        MERGE secrets/a {"metadata":{"resourceVersion":"$rv","labels":{"a":"2"}}}"#),
    entry("patch_without_change_keeps_revision", r#"
        POST pods @pod => /metadata/resourceVersion
        MERGE pods/a {} => /metadata/resourceVersion
        MERGE pods/a {"metadata":{"labels":{"gone":null}}} => /metadata/resourceVersion
        STRATEGIC pods/a {"spec":{"containers":[{"name":"c","image":"i:1"}]}} => /metadata/resourceVersion
        JSONPATCH pods/a [] => /metadata/resourceVersion
        MERGE pods/a {"metadata":{"labels":{"a":"b"}}} => /metadata/resourceVersion"#),
    entry("patch_json", r#"
        -POST secrets {"metadata":{"name":"a","labels":{"a":"1"}}}
        JSONPATCH secrets/a [{"op":"test","path":"/metadata/labels/a","value":"1"},{"op":"add","path":"/metadata/labels/b~1c","value":"2"},{"op":"remove","path":"/metadata/labels/a"}] => /metadata/labels
        JSONPATCH secrets/a [{"op":"test","path":"/metadata/labels/a","value":"1"}] => /code /reason
        JSONPATCH secrets/a [{"op":"remove","path":"/metadata/labels/nope"}] => /code /reason
        JSONPATCH secrets/a [{"op":"nope","path":"/x"}] => /code /reason
        JSONPATCH secrets/a {} => /code /reason"#),
    entry("patch_strategic_pod_status_lists", r#"
        -POST pods @pod
        STRATEGIC pods/a/status {"status":{"conditions":[{"type":"Ready","status":"False"},{"type":"Initialized","status":"True"}]}} => /status/conditions
        STRATEGIC pods/a/status {"status":{"conditions":[{"type":"Ready","status":"True"}]}} => /status/conditions
        STRATEGIC pods/a/status {"status":{"$setElementOrder/conditions":[{"type":"Initialized"},{"type":"Ready"}],"conditions":[{"type":"Initialized","$patch":"delete"},{"type":"Ready","reason":"R"}]}} => /status/conditions
        STRATEGIC pods/a/status {"status":{"podIPs":[{"ip":"10.0.0.1"}],"podIP":"10.0.0.1","phase":"Running"}} => /status/podIPs /status/phase"#),
    entry("patch_strategic_metadata_lists", r#"
        -POST secrets {"metadata":{"name":"a","finalizers":["x.io/a"],"ownerReferences":[{"apiVersion":"apps/v1","kind":"X","name":"n","uid":"u1"}]}}
        STRATEGIC secrets/a {"metadata":{"finalizers":["x.io/b","x.io/a"],"ownerReferences":[{"apiVersion":"apps/v1","kind":"X","name":"m","uid":"u2"}]}} => /metadata/finalizers /metadata/ownerReferences
        STRATEGIC secrets/a {"metadata":{"$deleteFromPrimitiveList/finalizers":["x.io/a"],"ownerReferences":[{"uid":"u1","$patch":"delete"}]}} => /metadata/finalizers /metadata/ownerReferences
        STRATEGIC secrets/a {"metadata":{"labels":{"a":"1"}}} => /metadata/labels
        STRATEGIC secrets/a {"metadata":{"labels":{"$patch":"replace","b":"2"}}} => /metadata/labels
        MERGE secrets/a {"metadata":{"finalizers":null}} => /code"#),
    entry("patch_strategic_service_ports", r#"
        -POST services {"metadata":{"name":"a"},"spec":{"ports":[{"port":80,"name":"a"},{"port":81,"name":"b"}]}}
        STRATEGIC services/a {"spec":{"ports":[{"port":81,"targetPort":9},{"port":82,"name":"c"}]}} => /spec/ports
        STRATEGIC services/a {"spec":{"ports":[{"port":80,"$patch":"delete"}]}} => /spec/ports
        STRATEGIC services/a {"spec":{"ports":[{"name":"no-key"}]}} => /code /reason
        MERGE services/a {"spec":{"ports":[{"port":90}]}} => /spec/ports
        STRATEGIC services/a {"spec":{"selector":{"a":"b"}}} => /spec/selector"#),
    // Delete.
    entry("delete_answers", r#"
        -POST secrets {"metadata":{"name":"a"}}
        -POST configmaps {"metadata":{"name":"a"}}
        -POST services {"metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}}
        -POST pods @pod
        DELETE secrets/a
        DELETE secrets/a
        DELETE configmaps/a
        DELETE services/a => /kind /metadata/name /status
        -GET pods
        DELETE pods/a => /kind /metadata/deletionGracePeriodSeconds /metadata/generation"#),
    entry("delete_preconditions", r#"
        POST secrets {"metadata":{"name":"a"}} => /kind
        KEEP uid /metadata/uid
        KEEP rv /metadata/resourceVersion
        DELETE secrets/a {"preconditions":{"uid":"11111111-1111-1111-1111-111111111111"}}
        DELETE secrets/a {"preconditions":{"resourceVersion":"1"}} => /code /reason
        DELETE secrets/a {"preconditions":{"uid":"$uid","resourceVersion":"$rv"}} => /status"#),
    entry("delete_dry_run", r#"
        -POST secrets {"metadata":{"name":"a"}}
        DELETE secrets/a?dryRun=All => /status
        DELETE secrets/a {"dryRun":["All"]} => /status
        GET secrets/a => /kind /metadata/deletionTimestamp"#),
    entry("delete_malformed_options", r#"
        -POST secrets {"metadata":{"name":"a"}}
        DELETE secrets/a {"propagationPolicy":"Sideways"} => /code /reason
        DELETE secrets/a {"propagationPolicy":"Orphan","orphanDependents":true} => /code /reason
        DELETE secrets/a {"gracePeriodSeconds":"x"} => /code /reason
        DELETE secrets/a { => /code /reason
        DELETE secrets/a?gracePeriodSeconds=x => /code /reason"#),
    entry("delete_unscheduled_pod_is_immediate", r#"
        POST pods @pod => /metadata/generation
        KEEP rv /metadata/resourceVersion
        DELETE pods/a {"gracePeriodSeconds":20} => /metadata/deletionGracePeriodSeconds /metadata/generation
        GET pods/a => /code
        WATCH pods?watch=1&resourceVersion=$rv&timeoutSeconds=3 => /0/type /0/object/metadata/deletionGracePeriodSeconds /1/type /2"#),
    entry("delete_scheduled_pod_has_grace", r#"
        -POST pods @pod
        -POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}}
        -GET pods
        DELETE pods/a => /metadata
        -GET pods
        DELETE pods/a {"gracePeriodSeconds":60} => /metadata/deletionGracePeriodSeconds /metadata/resourceVersion
        -GET pods
        DELETE pods/a {"gracePeriodSeconds":10} => /metadata/deletionGracePeriodSeconds /metadata/generation
        -GET pods
        DELETE pods/a => /metadata/deletionGracePeriodSeconds
        MERGE pods/a {"metadata":{"labels":{"a":"b"}}} => /code /metadata/labels
        MERGE pods/a {"metadata":{"deletionTimestamp":null}} => /code /metadata/deletionTimestamp
        DELETE pods/a {"gracePeriodSeconds":0} => /metadata/deletionGracePeriodSeconds
        GET pods/a => /code"#),
    entry("delete_finished_pod_is_immediate", r#"
        -POST pods @pod
        -POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}}
        -MERGE pods/a/status {"status":{"phase":"Failed"}}
        -GET pods
        DELETE pods/a => /metadata/deletionGracePeriodSeconds
        GET pods/a => /code"#),
    entry("delete_negative_grace", r#"
        -POST pods @pod
        -POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}}
        -GET pods
        DELETE pods/a {"gracePeriodSeconds":-5} => /code /metadata/deletionGracePeriodSeconds"#),
    entry("delete_with_finalizer", r#"
        -POST secrets {"metadata":{"name":"a","finalizers":["x.io/y","x.io/z"]}}
        DELETE secrets/a
        DELETE secrets/a => /kind /metadata/finalizers
        MERGE secrets/a {"metadata":{"finalizers":["x.io/y","x.io/new"]}}
        MERGE secrets/a {"metadata":{"finalizers":["x.io/y"]}} => /code /metadata/finalizers
        POST secrets {"metadata":{"name":"a"}} => /code /reason
        MERGE secrets/a {"metadata":{"finalizers":null}} => /code /kind /metadata/finalizers
        GET secrets/a => /code"#),
    entry("delete_pod_with_finalizer_and_grace", r#"
        -POST pods {"metadata":{"name":"a","finalizers":["x.io/y"]},"spec":@spec}
        -POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}}
        -GET pods
        DELETE pods/a {"gracePeriodSeconds":7} => /metadata/deletionGracePeriodSeconds
        -GET pods
        DELETE pods/a {"gracePeriodSeconds":0} => /metadata/deletionGracePeriodSeconds
        GET pods/a => /metadata/finalizers /metadata/deletionGracePeriodSeconds
        MERGE pods/a {"metadata":{"finalizers":[]}} => /code
        GET pods/a => /code"#),
    entry("delete_pod_finalizer_removed_before_grace", r#"
        -POST pods {"metadata":{"name":"a","finalizers":["x.io/y"]},"spec":@spec}
        -POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}}
        -GET pods
        DELETE pods/a {"gracePeriodSeconds":7} => /metadata/deletionGracePeriodSeconds
        MERGE pods/a {"metadata":{"finalizers":null}} => /code
        GET pods/a => /metadata/finalizers /metadata/deletionGracePeriodSeconds"#),
    entry("delete_collection", r#"
        -POST secrets {"metadata":{"name":"a","labels":{"x":"1"}}}
        -POST secrets {"metadata":{"name":"b","labels":{"x":"1"},"finalizers":["x.io/y"]}}
        -POST secrets {"metadata":{"name":"c"}}
        DELETE secrets?labelSelector=x => /kind /items/0/metadata/name /items/1/metadata/name /items/2
        GET secrets => /items/0/metadata/name /items/1/metadata/name /items/2
        -MERGE secrets/b {"metadata":{"finalizers":null}}
        DELETE services => /code /kind"#),
    // Subresources of pods.
    entry("binding", r#"
        -POST pods @pod
        POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node"}}
        POST pods/a/binding {"target":{"kind":"Node","name":"$ns"}}
        POST pods/nope/binding {"metadata":{"name":"nope"},"target":{"kind":"Node","name":"$ns"}}
        POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}}
        GET pods/a => /spec/nodeName /status /metadata/generation
        POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"n2"}}"#),
    entry("binding_of_a_pod_being_deleted", r#"
        -POST pods {"metadata":{"name":"a","finalizers":["x.io/y"]},"spec":@spec}
        -DELETE pods/a
        POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}}
        -MERGE pods/a {"metadata":{"finalizers":null}}"#),
    entry("status_is_separate", r#"
        POST pods @pod => /metadata/generation
        MERGE pods/a {"status":{"phase":"Running"}} => /status /metadata/resourceVersion
        MERGE pods/a/status {"status":{"phase":"Running","message":"m"},"spec":{"activeDeadlineSeconds":5}} => /status /spec/activeDeadlineSeconds /metadata/generation
        MERGE pods/a/status {"metadata":{"labels":{"a":"b"}}} => /metadata/labels
        PUT pods/a/status {"metadata":{"name":"a"},"spec":@spec,"status":{"phase":"Failed","reason":"R"}} => /status /metadata/labels
        GET pods/a/status => /status/phase
        MERGE secrets/a/status {} => /code"#),
    entry("eviction", r#"
        -POST pods @pod
        -POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}}
        -GET pods
        POST pods/a/eviction {"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"a"},"deleteOptions":{"gracePeriodSeconds":3}}
        GET pods/a => /metadata/deletionGracePeriodSeconds
        POST pods/nope/eviction {"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"nope"}} => /code /reason"#),
    // Garbage collection.
    entry("delete_foreground_marks_the_owner", r#"
        -POST configmaps {"metadata":{"name":"owner","finalizers":["x.io/y"]}}
        DELETE configmaps/owner {"propagationPolicy":"Foreground"} => /kind /metadata/deletionGracePeriodSeconds
        -MERGE configmaps/owner {"metadata":{"finalizers":null}}"#),
    controlled("gc_background", r#"
        POST configmaps {"metadata":{"name":"owner"}} => /kind
        KEEP uid /metadata/uid
        -POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"$uid"}]}}
        DELETE configmaps/owner {"propagationPolicy":"Background"} => /status
        AWAIT secrets/a gone
        GET secrets/a => /code"#),
    controlled("gc_of_a_pods_dependants", r#"
        POST pods @pod => /kind
        KEEP uid /metadata/uid
        -POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"a","uid":"$uid"}]}}
        -POST services {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"a","uid":"$uid"}]},"spec":{"ports":[{"port":80}]}}
        DELETE pods/a => /kind
        AWAIT secrets/a gone
        AWAIT services/a gone"#),
    controlled("gc_foreground_waits_for_dependants", r#"
        POST configmaps {"metadata":{"name":"owner"}} => /kind
        KEEP uid /metadata/uid
        -POST secrets {"metadata":{"name":"a","finalizers":["x.io/y"],"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"$uid","blockOwnerDeletion":true}]}}
        AWAIT secrets/a /metadata/name "a"
        DELETE configmaps/owner {"propagationPolicy":"Foreground"} => /kind /metadata/finalizers /metadata/deletionGracePeriodSeconds
        AWAIT secrets/a /metadata/deletionGracePeriodSeconds 0
        GET configmaps/owner => /kind /metadata/finalizers
        -MERGE secrets/a {"metadata":{"finalizers":null}}
        AWAIT configmaps/owner gone"#),
    controlled("gc_orphan_releases_dependants", r#"
        POST configmaps {"metadata":{"name":"owner"}} => /kind
        KEEP uid /metadata/uid
        -POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"$uid"}]}}
        DELETE configmaps/owner {"propagationPolicy":"Orphan"} => /kind /metadata/finalizers
        AWAIT configmaps/owner gone
        GET secrets/a => /kind /metadata/ownerReferences"#),
    controlled("gc_dangling_owner", r#"
        -POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"never","uid":"11111111-1111-1111-1111-111111111111"}]}}
        AWAIT secrets/a gone"#),
    controlled("gc_keeps_what_has_another_owner", r#"
        POST configmaps {"metadata":{"name":"one"}} => /kind
        KEEP one /metadata/uid
        POST configmaps {"metadata":{"name":"two"}} => /kind
        KEEP two /metadata/uid
        -POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"one","uid":"$one"},{"apiVersion":"v1","kind":"ConfigMap","name":"two","uid":"$two"}]}}
        -DELETE configmaps/one {"propagationPolicy":"Background"}
        AWAIT secrets/a /metadata/ownerReferences/0/name "two"
        GET secrets/a => /metadata/ownerReferences"#),
    controlled("gc_chain", r#"
        POST configmaps {"metadata":{"name":"one"}} => /kind
        KEEP one /metadata/uid
        POST configmaps {"metadata":{"name":"two","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"one","uid":"$one"}]}} => /kind
        KEEP two /metadata/uid
        -POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"two","uid":"$two"}]}}
        -DELETE configmaps/one
        AWAIT secrets/a gone
        GET configmaps/two => /code"#),
    controlled("gc_foreground_leaves_what_has_another_owner", r#"
        POST configmaps {"metadata":{"name":"one"}} => /kind
        KEEP one /metadata/uid
        POST services {"metadata":{"name":"two"},"spec":{"ports":[{"port":80}]}} => /kind
        KEEP two /metadata/uid
        -POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"one","uid":"$one","blockOwnerDeletion":true},{"apiVersion":"v1","kind":"Service","name":"two","uid":"$two"}]}}
        AWAIT secrets/a /metadata/name "a"
        -DELETE configmaps/one {"propagationPolicy":"Foreground"}
        AWAIT configmaps/one gone
        GET secrets/a => /metadata/ownerReferences"#),
    controlled("gc_foreground_goes_down_a_chain", r#"
        POST configmaps {"metadata":{"name":"one"}} => /kind
        KEEP one /metadata/uid
        POST configmaps {"metadata":{"name":"two","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"one","uid":"$one","blockOwnerDeletion":true}]}} => /kind
        KEEP two /metadata/uid
        -POST secrets {"metadata":{"name":"a","finalizers":["x.io/y"],"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"two","uid":"$two","blockOwnerDeletion":true}]}}
        AWAIT secrets/a /metadata/name "a"
        -DELETE configmaps/one {"propagationPolicy":"Foreground"}
        AWAIT configmaps/two /metadata/deletionGracePeriodSeconds 0
        AWAIT secrets/a /metadata/deletionGracePeriodSeconds 0
        GET configmaps/two => /kind /metadata/finalizers
        GET configmaps/one => /kind /metadata/finalizers
        -MERGE secrets/a {"metadata":{"finalizers":null}}
        AWAIT configmaps/one gone
        GET configmaps/two => /code"#),
    controlled("gc_foreground_does_not_wait_for_what_does_not_block", r#"
        POST configmaps {"metadata":{"name":"owner"}} => /kind
        KEEP uid /metadata/uid
        -POST secrets {"metadata":{"name":"a","finalizers":["x.io/y"],"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"$uid"}]}}
        AWAIT secrets/a /metadata/name "a"
        -DELETE configmaps/owner {"propagationPolicy":"Foreground"}
        AWAIT configmaps/owner gone
        AWAIT secrets/a /metadata/deletionGracePeriodSeconds 0
        -MERGE secrets/a {"metadata":{"finalizers":null}}"#),
    controlled("gc_foreground_ends_when_the_dependant_lets_go", r#"
        POST configmaps {"metadata":{"name":"owner"}} => /kind
        KEEP uid /metadata/uid
        -POST secrets {"metadata":{"name":"a","finalizers":["x.io/y"],"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"$uid","blockOwnerDeletion":true}]}}
        AWAIT secrets/a /metadata/name "a"
        -DELETE configmaps/owner {"propagationPolicy":"Foreground"}
        AWAIT secrets/a /metadata/deletionGracePeriodSeconds 0
        -MERGE secrets/a {"metadata":{"ownerReferences":null}}
        AWAIT configmaps/owner gone
        GET secrets/a => /kind /metadata/ownerReferences
        -MERGE secrets/a {"metadata":{"finalizers":null}}"#),
    controlled("gc_breaks_a_circle", r#"
        POST configmaps {"metadata":{"name":"one"}} => /kind
        KEEP one /metadata/uid
        POST configmaps {"metadata":{"name":"two","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"one","uid":"$one","blockOwnerDeletion":true}]}} => /kind
        KEEP two /metadata/uid
        -MERGE configmaps/one {"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"two","uid":"$two","blockOwnerDeletion":true}]}}
        AWAIT configmaps/one /metadata/ownerReferences/0/name "two"
        -DELETE configmaps/one {"propagationPolicy":"Foreground"}
        AWAIT configmaps/one gone
        AWAIT configmaps/two gone"#),
    controlled("gc_of_what_a_cluster_object_owns", r#"
        POST /apis/scheduling.k8s.io/v1/priorityclasses {"metadata":{"name":"$ns-owner"},"value":7} => /kind
        KEEP uid /metadata/uid
        -POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","name":"$ns-owner","uid":"$uid"}]}}
        -POST /apis/coordination.k8s.io/v1/namespaces/$ns/leases {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","name":"$ns-owner","uid":"$uid"}]}}
        -DELETE /apis/scheduling.k8s.io/v1/priorityclasses/$ns-owner
        AWAIT secrets/a gone
        AWAIT /apis/coordination.k8s.io/v1/namespaces/$ns/leases/a gone"#),
    controlled("gc_leaves_what_names_an_unknown_owner", r#"
        -POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"x.io/v1","kind":"Thing","name":"never","uid":"11111111-1111-1111-1111-111111111111"}]}}
        -POST /apis/scheduling.k8s.io/v1/priorityclasses {"metadata":{"name":"$ns-owned","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"never","uid":"11111111-1111-1111-1111-111111111111"}]},"value":7}
        -POST secrets {"metadata":{"name":"b","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"never","uid":"11111111-1111-1111-1111-111111111111"}]}}
        AWAIT secrets/b gone
        GET secrets/a => /kind
        GET /apis/scheduling.k8s.io/v1/priorityclasses/$ns-owned => /kind
        -DELETE /apis/scheduling.k8s.io/v1/priorityclasses/$ns-owned"#),
    controlled("gc_looks_at_the_uid_not_the_name", r#"
        POST configmaps {"metadata":{"name":"owner"}} => /kind
        KEEP uid /metadata/uid
        -DELETE configmaps/owner
        -POST configmaps {"metadata":{"name":"owner"}}
        -POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"$uid"}]}}
        AWAIT secrets/a gone
        GET configmaps/owner => /kind"#),
    controlled("namespace_deletion_empties_it", r#"
        POST /api/v1/namespaces {"metadata":{"name":"$ns-gone"}} => /status
        -POST /api/v1/namespaces/$ns-gone/secrets {"metadata":{"name":"a","finalizers":["x.io/y"]}}
        DELETE /api/v1/namespaces/$ns-gone => /kind /status/phase
        AWAIT /api/v1/namespaces/$ns-gone/secrets/a /metadata/deletionGracePeriodSeconds 0
        POST /api/v1/namespaces/$ns-gone/secrets {"metadata":{"name":"b"}}
        -MERGE /api/v1/namespaces/$ns-gone/secrets/a {"metadata":{"finalizers":null}}
        AWAIT /api/v1/namespaces/$ns-gone gone"#),
];
