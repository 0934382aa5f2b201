//! The table of behaviours, first part: create, validation, get, list and watch.

use super::Entry;

pub(super) const fn entry(name: &'static str, script: &'static str) -> Entry {
    Entry {
        name,
        controllers: false,
        script,
    }
}

#[rustfmt::skip]
pub(super) const ENTRIES: &[Entry] = &[
    // Create.
    entry("create_pod_fills_in_defaults", "POST pods @pod"),
    entry("create_pod_more_defaults", r#"
        POST pods {"metadata":{"name":"a"},"spec":{"schedulerName":"none","serviceAccountName":"default","automountServiceAccountToken":false,"restartPolicy":"Never","hostNetwork":false,"containers":[{"name":"c","image":"r.io:5000/i","ports":[{"containerPort":80,"name":"http"}],"env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},{"name":"B"}],"readinessProbe":{"httpGet":{"port":80}},"livenessProbe":{"exec":{"command":["x"]},"periodSeconds":3}}],"initContainers":[{"name":"i","image":"i@sha256:aa"}],"volumes":[{"name":"e","emptyDir":{}},{"name":"s","secret":{"secretName":"s"}},{"name":"c","configMap":{"name":"c"}},{"name":"h","hostPath":{"path":"/x"}},{"name":"n"}]}} => /spec /status"#),
    entry("create_pod_quantities_and_qos", r#"
        POST pods {"metadata":{"name":"a"},"spec":{"schedulerName":"none","serviceAccountName":"default","automountServiceAccountToken":false,"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1500m","memory":"1024Mi"},"requests":{"cpu":"0.5","memory":"1e3"}}}]}} => /spec/containers/0/resources /status/qosClass
        POST pods {"metadata":{"name":"b"},"spec":{"schedulerName":"none","serviceAccountName":"default","automountServiceAccountToken":false,"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"2000m","memory":"1.5Gi"}}}]}} => /spec/containers/0/resources /status/qosClass
        POST pods {"metadata":{"name":"c"},"spec":{"schedulerName":"none","serviceAccountName":"default","automountServiceAccountToken":false,"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"0.1u","memory":"100k"}}}]}} => /spec/containers/0/resources /status/qosClass"#),
    entry("create_bad_quantity", r#"POST pods {"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"many"}}}]}} => /code /reason"#),
    entry("create_generate_name", r#"
        POST secrets {"metadata":{"generateName":"gen-"}}
        POST secrets {"metadata":{"generateName":"gen-","name":"given"}} => /metadata/name /metadata/generateName"#),
    entry("create_twice", r#"
        -POST secrets {"metadata":{"name":"a"}}
        POST secrets {"metadata":{"name":"a"}}"#),
    entry("create_ignores_server_fields", r#"
        POST secrets {"metadata":{"name":"a","uid":"11111111-1111-1111-1111-111111111111","creationTimestamp":"2001-01-01T00:00:00Z","generation":7,"deletionTimestamp":"2001-01-01T00:00:00Z","selfLink":"/x"}} => /metadata
        POST pods {"metadata":{"name":"a"},"spec":@spec,"status":{"phase":"Running","podIP":"1.2.3.4"}} => /status"#),
    entry("create_ignores_unknown_fields", r#"POST secrets {"metadata":{"name":"a","nope":1},"nope":{"x":[null]}}"#),
    entry("create_with_resource_version", r#"POST secrets {"metadata":{"name":"a","resourceVersion":"1"}} => /code /message"#),
    entry("create_in_missing_namespace", r#"POST /api/v1/namespaces/no-such-namespace/secrets {"metadata":{"name":"a"}}"#),
    entry("create_in_other_namespace", r#"POST secrets {"metadata":{"name":"a","namespace":"other"}}"#),
    entry("create_dry_run", r#"
        POST secrets?dryRun=All {"metadata":{"name":"a"}} => /kind /metadata/name /metadata/resourceVersion
        GET secrets/a => /code
        POST secrets?dryRun=Some {"metadata":{"name":"a"}} => /code /reason"#),
    entry("create_secret_string_data", r#"
        POST secrets {"metadata":{"name":"a"},"data":{"b":"Yg=="},"stringData":{"a":"x","b":"y"}} => /data /stringData /type
        POST secrets {"metadata":{"name":"b"},"data":{"b":"!"}} => /code /reason"#),
    entry("create_service_defaults", r#"
        POST services {"metadata":{"name":"a"},"spec":{"ports":[{"port":80,"name":"http"},{"port":81,"name":"x","targetPort":"http"}],"selector":{"a":"b"}}}
        POST services {"metadata":{"name":"headless"},"spec":{"clusterIP":"None","selector":{"a":"b"}}} => /spec
        POST services {"metadata":{"name":"external"},"spec":{"type":"ExternalName","externalName":"example.com"}} => /spec"#),
    entry("create_namespace", r#"
        POST /api/v1/namespaces {"metadata":{"name":"$ns-more"}}
        DELETE /api/v1/namespaces/$ns-more => /status/phase /spec/finalizers"#),
    entry("create_malformed", r#"
        POST pods { => /code /reason
        POST pods [] => /code /reason
        POST pods "x" => /code /reason
        POST pods null => /code /reason
        POST pods {"metadata":{"name":5}} => /code /reason
        POST pods {"metadata":[]} => /code /reason
        POST pods {"metadata":{"labels":{"a":1}}} => /code /reason
        POST pods {"metadata":{"name":"x"},"spec":{"containers":{}}} => /code /reason
        POST pods {"metadata":{"name":"x"},"spec":null}
        POST pods {"kind":"Service","apiVersion":"v1","metadata":{"name":"x"}} => /code /reason
        POST pods {"kind":"Pod","apiVersion":"v2","metadata":{"name":"x"}} => /code /reason"#),
    // Validation.
    entry("invalid_names", r#"
        POST pods {"metadata":{"name":"A_b"},"spec":@spec}
        POST pods {"metadata":{}}
        POST secrets {"metadata":{"generateName":"A_"}} => /code /reason
        POST services {"metadata":{"name":"1a"},"spec":{"ports":[{"port":80}]}} => /code /reason
        POST services {"metadata":{"name":"a.b"},"spec":{"ports":[{"port":80}]}} => /code /reason
        POST /api/v1/namespaces {"metadata":{"name":"a.b"}}"#),
    entry("invalid_labels", r#"
        POST secrets {"metadata":{"name":"a","labels":{"a b":"x"}}}
        POST secrets {"metadata":{"name":"a","labels":{"a":"-x"}}}
        POST secrets {"metadata":{"name":"a","labels":{"a":"0123456789012345678901234567890123456789012345678901234567890123"}}}
        POST secrets {"metadata":{"name":"a","labels":{"0123456789012345678901234567890123456789012345678901234567890123":""}}}
        POST secrets {"metadata":{"name":"a","labels":{"/x":""}}}
        POST secrets {"metadata":{"name":"a","labels":{"A_/x":""}}}
        POST secrets {"metadata":{"name":"a","labels":{"a/b/c":""}}}"#),
    entry("invalid_annotations", r#"
        POST secrets {"metadata":{"name":"a","annotations":{"":"x"}}}
        POST secrets {"metadata":{"name":"a","annotations":{"EXAMPLE.com/A":"any text: äöü\n"}}} => /metadata/annotations"#),
    entry("invalid_sizes", r#"
        POST secrets {"metadata":{"name":"a","annotations":{"a":"@big262143@"}}} => /kind
        POST secrets {"metadata":{"name":"b","annotations":{"a":"@big262144@"}}}
        POST configmaps {"metadata":{"name":"a"},"data":{"a":"@big1048577@"}}
        POST pods {"metadata":{"name":"a"},"spec":{"schedulerName":"none","serviceAccountName":"default","automountServiceAccountToken":false,"containers":[{"name":"c","image":"i","env":[{"name":"A","value":"@big1600000@"}]}]}}"#),
    entry("invalid_finalizers_and_owners", r#"
        POST secrets {"metadata":{"name":"a","finalizers":["x"]}}
        POST secrets {"metadata":{"name":"a","finalizers":["a/b/c"]}} => /code /details/causes/0/field
        POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"","name":"","uid":""}]}}
        POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"","kind":"Pod","name":"x","uid":"u"}]}} => /code /details/causes/0/field
        POST secrets {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"u","controller":true},{"apiVersion":"v1","kind":"Pod","name":"y","uid":"v","controller":true}]}} => /code /details/causes/0/field"#),
    entry("invalid_pod", r#"
        POST pods {"metadata":{"name":"a"},"spec":{"containers":[{},{"name":"A","image":"b","ports":[{"containerPort":0},{"name":"UUU"}],"env":[{"name":"","value":"x"}],"volumeMounts":[{"name":"q"}]}],"restartPolicy":"x"}}
        POST pods {"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"},{"name":"c","image":"i"}],"volumes":[{"name":"v"},{"name":"v"}]}}
        POST pods {"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":70000}],"imagePullPolicy":"x"}],"activeDeadlineSeconds":0}}
        POST pods {"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i","env":[{"name":"a=b"}]}],"nodeSelector":{"a":"?"},"dnsPolicy":"x"}}
        POST pods {"metadata":{"name":"a"},"spec":{"containers":[]}}"#),
    entry("invalid_service", r#"
        POST services {"metadata":{"name":"a"},"spec":{}}
        POST services {"metadata":{"name":"a"},"spec":{"ports":[{"port":0}]}}
        POST services {"metadata":{"name":"a"},"spec":{"ports":[{"port":80},{"port":81}]}}
        POST services {"metadata":{"name":"a"},"spec":{"ports":[{"port":80,"name":"a"},{"port":81,"name":"a"}]}}
        POST services {"metadata":{"name":"a"},"spec":{"ports":[{"port":80}],"type":"x"}} => /code /details/causes/0/field"#),
    entry("invalid_data_keys", r#"
        POST secrets {"metadata":{"name":"a"},"data":{"a b":"eA=="}}
        POST configmaps {"metadata":{"name":"a"},"data":{"a/b":"x"}}"#),
    entry("body_too_large", "POST secrets BIG3145729"),
    entry("unsupported_media_types", r#"
        POST secrets?x=1 BIG5 => /code /reason
        PATCH secrets/a {} => /code /reason"#),
    // Get and list.
    entry("get_missing", "GET pods/a"),
    entry("get_unknown_paths", r#"
        GET foos => /code /reason /message
        GET pods/a/nope => /code /reason
        GET /apis/nope.example.com/v1/things
        POST pods/a => /code /reason"#),
    entry("list_orders_by_name", r#"
        -POST secrets {"metadata":{"name":"b"}}
        -POST secrets {"metadata":{"name":"a.b"}}
        -POST secrets {"metadata":{"name":"a"}}
        -POST secrets {"metadata":{"name":"a-b"}}
        GET secrets => /kind /apiVersion /items/0/metadata/name /items/1/metadata/name /items/2/metadata/name /items/3/metadata/name /items/4 /items/0/kind"#),
    entry("list_empty", "GET secrets"),
    entry("list_limit_continue", r#"
        -POST secrets {"metadata":{"name":"a"}}
        -POST secrets {"metadata":{"name":"b"}}
        -POST secrets {"metadata":{"name":"c"}}
        GET secrets?limit=2 => /metadata/continue /items/0/metadata/name /items/1/metadata/name /items/2
        KEEP token /metadata/continue
        -DELETE secrets/c
        -POST secrets {"metadata":{"name":"d"}}
        GET secrets?limit=2&continue=$token => /metadata/continue /items/0/metadata/name /items/1
        GET secrets?limit=2&continue=zzz => /code /reason
        GET secrets?limit=x => /code /reason
        GET secrets?continue=$token&resourceVersion=5 => /code /reason"#),
    entry("list_limit_counts_the_rest", r#"
        -POST secrets {"metadata":{"name":"a","labels":{"x":"y"}}}
        -POST secrets {"metadata":{"name":"b"}}
        -POST secrets {"metadata":{"name":"c","labels":{"x":"y"}}}
        GET secrets?limit=1&labelSelector=x => /items/0/metadata/name /items/1 /metadata/continue
        KEEP token /metadata/continue
        GET secrets?limit=1&labelSelector=x&continue=$token => /items/0/metadata/name /items/1 /metadata/continue"#),
    entry("list_resource_version_rules", r#"
        GET secrets?resourceVersion=x
        GET secrets?resourceVersion=0 => /kind /items
        GET secrets?resourceVersionMatch=Exact
        GET secrets?resourceVersion=0&resourceVersionMatch=Exact => /code /reason
        GET secrets?resourceVersion=1&resourceVersionMatch=Sometimes => /code /reason
        GET secrets?resourceVersion=0&resourceVersionMatch=NotOlderThan => /kind"#),
    entry("list_exact_is_a_snapshot", r#"
        POST secrets {"metadata":{"name":"a"}} => /metadata/name
        KEEP then /metadata/resourceVersion
        -POST secrets {"metadata":{"name":"b"}}
        GET secrets?resourceVersion=$then&resourceVersionMatch=Exact => /items/0/metadata/name /items/1
        GET secrets => /items/0/metadata/name /items/1/metadata/name"#),
    entry("list_future_revision", "GET secrets?resourceVersion=99999999999999999 => /code /reason /details/causes/0/reason /details/retryAfterSeconds"),
    entry("list_label_selectors", r#"
        -POST secrets {"metadata":{"name":"a","labels":{"x":"1","y":"1"}}}
        -POST secrets {"metadata":{"name":"b","labels":{"x":"2"}}}
        -POST secrets {"metadata":{"name":"c"}}
        GET secrets?labelSelector=x%3D1 => /items/0/metadata/name /items/1/metadata/name
        GET secrets?labelSelector=x!%3D1 => /items/0/metadata/name /items/1/metadata/name
        GET secrets?labelSelector=x => /items/0/metadata/name /items/1/metadata/name
        GET secrets?labelSelector=!x => /items/0/metadata/name /items/1/metadata/name
        GET secrets?labelSelector=x%20in%20(1,2),!y => /items/0/metadata/name /items/1/metadata/name
        GET secrets?labelSelector=x%20notin%20(1) => /items/0/metadata/name /items/1/metadata/name
        GET secrets?labelSelector=x%3E1 => /items/0/metadata/name /items/1/metadata/name
        GET secrets?labelSelector=x%3D%3D2 => /items/0/metadata/name /items/1/metadata/name
        GET secrets?labelSelector=a%20b => /code /reason
        GET secrets?labelSelector=x%3D%2B => /code /reason
        GET secrets?labelSelector=x%20in%20(1 => /code /reason"#),
    entry("list_field_selectors", r#"
        -POST pods @pod
        -POST pods {"metadata":{"name":"b"},"spec":@spec}
        -POST pods/b/binding {"metadata":{"name":"b"},"target":{"kind":"Node","name":"$ns"}}
        GET pods?fieldSelector=metadata.name%3Da => /items/0/metadata/name /items/1/metadata/name
        GET pods?fieldSelector=spec.nodeName%3D$ns => /items/0/metadata/name /items/1/metadata/name
        GET pods?fieldSelector=spec.nodeName%3D => /items/0/metadata/name /items/1/metadata/name
        GET pods?fieldSelector=status.phase!%3DRunning,metadata.name!%3Da => /items/0/metadata/name /items/1/metadata/name
        GET pods?fieldSelector=spec.nope%3D1
        GET pods?fieldSelector=nonsense => /code /reason"#),
    entry("list_events_by_field", r#"
        -POST events {"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","name":"a","namespace":"$ns"},"reason":"R","type":"Warning","message":"m"}
        -POST events {"metadata":{"name":"f"},"involvedObject":{"kind":"Pod","name":"b","namespace":"$ns"},"reason":"R","type":"Normal"}
        GET events?fieldSelector=involvedObject.kind%3DPod,type%3DWarning => /items/0/metadata/name /items/1
        GET events?fieldSelector=involvedObject.name%3Db,reason%3DR => /items/0/metadata/name /items/1"#),
    // Watch.
    entry("watch_from_revision", r#"
        GET secrets => /kind
        KEEP rv /metadata/resourceVersion
        -POST secrets {"metadata":{"name":"a"}}
        -MERGE secrets/a {"data":{"k":"eA=="}}
        -DELETE secrets/a
        WATCH secrets?watch=1&resourceVersion=$rv&timeoutSeconds=3"#),
    entry("watch_without_revision_starts_with_state", r#"
        -POST secrets {"metadata":{"name":"b"}}
        -POST secrets {"metadata":{"name":"a"}}
        WATCH secrets?watch=true&timeoutSeconds=3&fieldSelector=metadata.name%3Da => /0/type /0/object/metadata/name /1
        WATCH secrets?watch=true&timeoutSeconds=3&resourceVersion=0&fieldSelector=metadata.name%3Db => /0/type /0/object/metadata/name /1"#),
    entry("watch_label_enter_and_leave", r#"
        GET secrets => /kind
        KEEP rv /metadata/resourceVersion
        -POST secrets {"metadata":{"name":"a"}}
        -MERGE secrets/a {"metadata":{"labels":{"x":"1"}}}
        -MERGE secrets/a {"metadata":{"labels":{"y":"1"}}}
        -MERGE secrets/a {"metadata":{"labels":{"x":"2"}}}
        -MERGE secrets/a {"metadata":{"labels":{"x":"1"}}}
        -DELETE secrets/a
        WATCH secrets?watch=1&resourceVersion=$rv&timeoutSeconds=3&labelSelector=x%3D1"#),
    entry("watch_field_enter_and_leave", r#"
        GET pods => /kind
        KEEP rv /metadata/resourceVersion
        -POST pods @pod
        -POST pods/a/binding {"metadata":{"name":"a"},"target":{"kind":"Node","name":"$ns"}}
        -MERGE pods/a/status {"status":{"phase":"Running"}}
        -MERGE pods/a/status {"status":{"phase":"Succeeded"}}
        WATCH pods?watch=1&resourceVersion=$rv&timeoutSeconds=3&fieldSelector=status.phase%3DRunning => /0/type /0/object/status/phase /1/type /1/object/status/phase /2
        WATCH pods?watch=1&resourceVersion=$rv&timeoutSeconds=3&fieldSelector=spec.nodeName%3D$ns => /0/type /1/type /2/type /3"#),
    entry("watch_bookmark_before_the_end", r#"
        GET secrets => /kind
        KEEP rv /metadata/resourceVersion
        -POST secrets {"metadata":{"name":"a"}}
        WATCH secrets?watch=1&resourceVersion=$rv&timeoutSeconds=4&allowWatchBookmarks=true => /0/type /1/type"#),
    entry("watch_initial_events", r#"
        -POST secrets {"metadata":{"name":"a"}}
        WATCH secrets?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=3 => /0 /1
        WATCH secrets?watch=1&sendInitialEvents=true&timeoutSeconds=3 => /0/code /0/reason
        WATCH secrets?watch=1&resourceVersion=0&resourceVersionMatch=NotOlderThan&timeoutSeconds=3 => /0/code /0/reason"#),
    entry("watch_bad_revision", "WATCH secrets?watch=1&resourceVersion=abc&timeoutSeconds=3 => /0/code /0/message"),
    entry("watch_delete_shows_last_state", r#"
        POST secrets {"metadata":{"name":"a","finalizers":["x.io/y"]}} => /metadata/resourceVersion
        KEEP rv /metadata/resourceVersion
        -DELETE secrets/a
        -MERGE secrets/a {"metadata":{"finalizers":null,"labels":{"last":"words"}}}
        WATCH secrets?watch=1&resourceVersion=$rv&timeoutSeconds=3"#),
    entry("watch_one_path", r#"
        GET secrets => /kind
        KEEP rv /metadata/resourceVersion
        -POST secrets {"metadata":{"name":"a"}}
        -POST secrets {"metadata":{"name":"b"}}
        WATCH /api/v1/watch/namespaces/$ns/secrets/b?resourceVersion=$rv&timeoutSeconds=3 => /0/object/metadata/name /1"#),
];
