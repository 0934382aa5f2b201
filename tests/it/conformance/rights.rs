//! Rights that are removed: requests are forbidden, and reviews show that beforehand.

use serde_json::{Value, json};
use wsman_sim::apiserver::store::Store;
use wsman_sim::apiserver::{Options, Server};

use super::{client, request};

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Whether the review allows it.
async fn may(client: &kube::Client, verb: &str, group: &str, resource: &str) -> bool {
    let attributes =
        json!({"verb": verb, "group": group, "resource": resource, "namespace": "default"});
    let review = json!({"spec": {"resourceAttributes": attributes}});
    let (code, answer) = request(client, "POST", REVIEWS, "", review).await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!(answer["kind"], "SelfSubjectAccessReview");
    assert_eq!(answer["spec"]["resourceAttributes"]["verb"], verb);
    answer["status"]["allowed"] == true
}

#[tokio::test]
async fn a_right_that_is_removed_is_forbidden_and_reviews_show_it() {
    let server = Server::start(Store::new(), Options::default())
        .await
        .expect("start");
    let client = client(&server.kubeconfig()).await;
    let pods = "/api/v1/namespaces/default/pods";
    assert!(may(&client, "list", "", "pods").await);
    assert!(may(&client, "*", "*", "*").await);

    server.rights().take("list", "pods");
    server.rights().take("update", "leases.coordination.k8s.io");
    assert!(!may(&client, "list", "", "pods").await);
    assert!(!may(&client, "update", "coordination.k8s.io", "leases").await);
    assert!(may(&client, "watch", "", "pods").await);
    let (code, answer) = request(&client, "GET", pods, "", Value::Null).await;
    assert_eq!((code, &answer["reason"]), (403, &json!("Forbidden")));
    assert_eq!(
        answer["message"],
        r#"pods is forbidden: User "embedded" cannot list resource "pods" in API group "" in the namespace "default""#
    );
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/x";
    let (code, answer) = request(
        &client,
        "PUT",
        lease,
        "",
        json!({"metadata": {"name": "x"}}),
    )
    .await;
    assert_eq!(code, 403);
    assert_eq!(
        answer["message"],
        r#"leases.coordination.k8s.io "x" is forbidden: User "embedded" cannot update resource "leases" in API group "coordination.k8s.io" in the namespace "default""#
    );
    assert_eq!(
        answer["details"],
        json!({"name": "x", "group": "coordination.k8s.io", "kind": "leases"})
    );

    server
        .rights()
        .take("create", "selfsubjectaccessreviews.authorization.k8s.io");
    let (code, answer) = request(&client, "POST", REVIEWS, "", json!({})).await;
    assert_eq!(code, 403, "{answer}");

    server.rights().give_back();
    let (code, _) = request(&client, "GET", pods, "", Value::Null).await;
    assert_eq!(code, 200);
    assert!(may(&client, "list", "", "pods").await);
    server.stop().await;
}

#[tokio::test]
async fn rules_and_subject_are_answered() {
    let server = Server::start(Store::new(), Options::default())
        .await
        .expect("start");
    let client = client(&server.kubeconfig()).await;
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let ask = json!({"spec": {"namespace": "default"}});
    let (code, answer) = request(&client, "POST", rules, "", ask.clone()).await;
    assert_eq!(
        (code, &answer["status"]["incomplete"]),
        (201, &json!(false))
    );
    assert_eq!(
        answer["status"]["resourceRules"][0]["resources"],
        json!(["*"])
    );
    server.rights().take("*", "secrets");
    let (_, answer) = request(&client, "POST", rules, "", ask).await;
    let rules = answer["status"]["resourceRules"].to_string();
    assert!(
        rules.contains("\"pods\"") && !rules.contains("\"secrets\""),
        "{rules}"
    );
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (code, answer) = request(&client, "POST", whoami, "", json!({})).await;
    assert_eq!(
        (code, &answer["status"]["userInfo"]["username"]),
        (201, &json!("embedded"))
    );
    server.stop().await;
}
