use serde_json::json;

use super::v3;

#[test]
fn streams_are_operations_of_each_method() {
    let document = v3();
    let path = "/apis/sandbox.x-k8s.io/v1beta1/namespaces/{namespace}/sandboxes/{name}/exec";
    let exec = &document["paths"][path];
    for (method, id) in [("get", "connectGet"), ("post", "connectPost")] {
        let operation = &exec[method];
        assert_eq!(
            operation["operationId"],
            format!("{id}SandboxXK8sIoV1beta1NamespacedSandboxExec")
        );
        assert_eq!(operation["x-kubernetes-action"], "connect");
        assert_eq!(operation["x-kubernetes-group-version-kind"]["kind"], "StreamOptions");
        assert_eq!(operation["parameters"][0]["name"], "container");
        let content = json!({"*/*": {"schema": {"type": "string"}}});
        assert_eq!(operation["responses"]["200"]["content"], content);
    }
    assert!(exec["put"].is_null() && document["paths"][format!("{path}/{{path}}")].is_null());
    let behind = &document["paths"][path.replace("exec", "proxy/{path}")];
    assert_eq!(
        behind["delete"]["operationId"],
        "connectDeleteSandboxXK8sIoV1beta1NamespacedSandboxProxyWithPath"
    );
    let names: Vec<_> = behind["parameters"].as_array().unwrap().iter().collect();
    assert!(names.iter().any(|parameter| parameter["name"] == "path"));
}
