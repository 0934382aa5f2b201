//! The table of behaviours, third part: claims, tables, unknown fields, reviews, and what else people run into.

use super::Entry;
use super::entries::entry;

#[rustfmt::skip]
pub(super) const ENTRIES: &[Entry] = &[
    entry("claim_defaults", r#"
        POST persistentvolumeclaims {"metadata":{"name":"a"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1024Mi"}}}}
        DELETE persistentvolumeclaims/a => /kind /metadata/finalizers /metadata/deletionGracePeriodSeconds"#),
    entry("claim_invalid", r#"
        POST persistentvolumeclaims {"metadata":{"name":"a"}}
        POST persistentvolumeclaims {"metadata":{"name":"a"},"spec":{"accessModes":[],"resources":{"requests":{"cpu":"1"}}}}
        POST persistentvolumeclaims {"metadata":{"name":"a"},"spec":{"accessModes":["Often"],"resources":{"requests":{"storage":"-1"}},"volumeMode":"Odd"}}
        POST persistentvolumeclaims {"metadata":{"name":"A_"},"spec":{"accessModes":["ReadWriteOncePod","ReadWriteOnce"],"resources":{"requests":{"storage":"0"}},"storageClassName":"X_"}}"#),
    entry("claim_spec_is_immutable", r#"
        -POST persistentvolumeclaims {"metadata":{"name":"a"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}
        MERGE persistentvolumeclaims/a {"spec":{"resources":{"requests":{"storage":"2Gi"}}}} => /code /reason /details/causes/0/field /details/causes/0/reason
        MERGE persistentvolumeclaims/a {"spec":{"accessModes":["ReadWriteMany"]}} => /code /reason /details/causes/0/field
        MERGE persistentvolumeclaims/a {"metadata":{"labels":{"a":"b"}}} => /metadata/labels
        -MERGE persistentvolumeclaims/a {"metadata":{"finalizers":null}}"#),
    entry("tables_have_the_same_columns", r#"
        TABLE pods
        TABLE services
        TABLE secrets
        TABLE configmaps
        TABLE events
        TABLE persistentvolumeclaims
        TABLE serviceaccounts?limit=1&labelSelector=none
        TABLE /api/v1/nodes?labelSelector=none
        TABLE /api/v1/namespaces?labelSelector=none
        TABLE /apis/coordination.k8s.io/v1/namespaces/$ns/leases
        TABLE /apis/scheduling.k8s.io/v1/priorityclasses?labelSelector=none"#),
    entry("tables_of_events", r#"
        -POST events {"metadata":{"name":"a"},"involvedObject":{"kind":"Pod","name":"p","namespace":"$ns","fieldPath":"spec.containers{c}"},"reason":"Why","message":"because\n","type":"Warning","source":{"component":"kubelet","host":"n"},"count":3}
        TABLE events"#),
    entry("tables_of_claims_and_data", r#"
        -POST persistentvolumeclaims {"metadata":{"name":"a"},"spec":{"accessModes":["ReadWriteOnce"],"storageClassName":"fast","resources":{"requests":{"storage":"1Gi"}}}}
        TABLE persistentvolumeclaims
        -POST secrets {"metadata":{"name":"a"},"stringData":{"k":"v"}}
        TABLE secrets
        -POST configmaps {"metadata":{"name":"a"},"data":{"k":"v","l":"w"}}
        TABLE configmaps?labelSelector=!x.io/none"#),
    entry("tables_include_what_is_asked_for", r#"
        -POST secrets {"metadata":{"name":"a"}}
        TABLE secrets?includeObject=Object
        TABLE secrets?includeObject=None
        TABLE secrets"#),
    entry("unknown_fields", r#"
        POST secrets?fieldValidation=Strict {"metadata":{"name":"a"},"bogus":1,"metadat":{}}
        POST pods?fieldValidation=Strict {"metadata":{"name":"a","lables":{}},"spec":{"containers":[{"name":"c","imag":"i"}],"nodeSelecter":{"a":"b"}}} => /code /reason
        POST secrets?fieldValidation=Warn {"metadata":{"name":"a"},"bogus":1} => /metadata/name /bogus
        POST secrets?fieldValidation=Ignore {"metadata":{"name":"b"},"bogus":1} => /metadata/name /bogus
        PUT secrets/a?fieldValidation=Strict {"metadata":{"name":"a"},"bogus":1}
        MERGE secrets/a?fieldValidation=Strict {"bogus":1} => /code /reason
        STRATEGIC secrets/a?fieldValidation=Strict {"metadata":{"labels":{"a":"b"}}} => /metadata/labels
        POST secrets?fieldValidation=Odd {"metadata":{"name":"c"}} => /code /reason"#),
    entry("access_reviews", r#"
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews {"spec":{"resourceAttributes":{"verb":"list","resource":"pods"}}} => /kind /status/allowed
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews {"spec":{"nonResourceAttributes":{"verb":"get","path":"/x"}}} => /kind /status/allowed
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews {"spec":{}}
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews {"spec":{"resourceAttributes":{"verb":"list"},"nonResourceAttributes":{"verb":"get","path":"/x"}}} => /code /reason /details/causes/0/field
        POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews {"spec":{"namespace":"$ns"}} => /kind /status/incomplete
        POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews {"spec":{}} => /code /reason /message
        POST /apis/authentication.k8s.io/v1/selfsubjectreviews {} => /kind
        GET /apis/authorization.k8s.io/v1/selfsubjectaccessreviews => /code /reason"#),
    entry("headless_services", r#"
        POST services {"metadata":{"name":"c"},"spec":{"ports":[{"port":80}]}} => /kind
        MERGE services/c {"spec":{"clusterIP":"None"}} => /code /reason /details/causes/0/field /details/causes/0/message
        POST services {"metadata":{"name":"d"},"spec":{"clusterIP":"none","ports":[{"port":80}]}} => /code /details/causes/0/field /details/causes/0/message
        POST services {"metadata":{"name":"e"},"spec":{"clusterIP":"None","type":"NodePort","ports":[{"port":80}]}} => /code /details/causes/0/field /details/causes/0/message"#),
    entry("lease_invalid", r#"
        POST /apis/coordination.k8s.io/v1/namespaces/$ns/leases {"metadata":{"name":"a"},"spec":{"leaseDurationSeconds":0,"leaseTransitions":-1}}
        POST /apis/coordination.k8s.io/v1/namespaces/$ns/leases {"metadata":{"name":"a"},"spec":{"leaseDurationSeconds":15,"holderIdentity":""}} => /code /details/causes/0/field /details/causes/0/message
        POST /apis/coordination.k8s.io/v1/namespaces/$ns/leases {"metadata":{"name":"a"},"spec":{"renewTime":"now"}} => /code /reason"#),
    entry("secret_types", r#"
        POST secrets {"metadata":{"name":"a"},"type":"kubernetes.io/tls","data":{}}
        POST secrets {"metadata":{"name":"a"},"type":"kubernetes.io/dockerconfigjson","data":{}}
        POST secrets {"metadata":{"name":"a"},"type":"kubernetes.io/dockerconfigjson","stringData":{".dockerconfigjson":"no json"}} => /code /details/causes/0/field
        POST secrets {"metadata":{"name":"a"},"type":"kubernetes.io/ssh-auth"}
        POST secrets {"metadata":{"name":"a"},"type":"kubernetes.io/basic-auth"} => /code /details/causes/0/field
        POST secrets {"metadata":{"name":"a"},"type":"kubernetes.io/service-account-token"} => /code /details/causes/0/field
        POST secrets {"metadata":{"name":"a"},"data":{"k":"no base64!"}} => /code /reason"#),
    entry("log_of_what_has_none", r#"
        GET pods/missing/log
        -POST pods {"metadata":{"name":"two"},"spec":{"schedulerName":"none","serviceAccountName":"default","automountServiceAccountToken":false,"initContainers":[{"name":"i","image":"i"}],"containers":[{"name":"c","image":"i"},{"name":"d","image":"i"}]}}
        GET pods/two/log
        GET pods/two/log?container=x
        GET pods/two/log?container=c&tailLines=-1 => /code /reason
        GET pods/two/log?container=c&sinceSeconds=0 => /code /reason
        GET secrets/a/log => /code /reason"#),
];
