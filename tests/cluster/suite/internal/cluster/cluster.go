// Package cluster is what the tests and the benchmarks share: where the cluster of
// `cargo xtask up` is, and the Pod that they run in it.
package cluster

import (
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	Group        = "sandbox.x-k8s.io"
	Version      = "v1beta1"
	GroupVersion = Group + "/" + Version
	APIService   = Version + "." + Group
	Image        = "docker.io/local/busybox:1"

	// NameHashLabel is on every child, and selects the Pod of a Service.
	NameHashLabel = Group + "/sandbox-name-hash"
	// TemplateHashLabel is on every Pod of a template, and on the template's NetworkPolicy.
	TemplateHashLabel = Group + "/sandbox-template-ref-hash"

	// idle ends at once on SIGTERM: a suspend shall not wait for a grace period.
	idle = "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"
)

var (
	Sandboxes = schema.GroupVersionResource{Group: Group, Version: Version, Resource: "sandboxes"}
	WarmPools = schema.GroupVersionResource{Group: Group, Version: Version, Resource: "sandboxwarmpools"}
	Templates = schema.GroupVersionResource{Group: Group, Version: Version, Resource: "sandboxtemplates"}
	// SandboxClaims are ours; Claims are of volumes.
	SandboxClaims = schema.GroupVersionResource{Group: Group, Version: Version, Resource: "sandboxclaims"}
	APIServices   = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
	coreResource  = func(name string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Version: "v1", Resource: name}
	}
	Pods       = coreResource("pods")
	Services   = coreResource("services")
	Claims     = coreResource("persistentvolumeclaims")
	ConfigMaps = coreResource("configmaps")
	Namespaces = coreResource("namespaces")

	NetworkPolicies = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}
)

// Environment is what `cargo xtask test cluster` and `cargo xtask bench` tell.
type Environment struct {
	Kubeconfig  string
	Kubectl     string
	Xtask       string
	DevDir      string
	Server      string
	ClusterEtcd string
	SandboxEtcd string
}

// FromEnvironment fails with the command to use when something is missing.
func FromEnvironment() (Environment, error) {
	var env Environment
	for name, field := range map[string]*string{
		"KUBECONFIG":            &env.Kubeconfig,
		"KUBECTL":               &env.Kubectl,
		"XTASK":                 &env.Xtask,
		"DEV_DIR":               &env.DevDir,
		"SANDBOX_SERVER":        &env.Server,
		"CLUSTER_ETCD_ENDPOINT": &env.ClusterEtcd,
		"SANDBOX_ETCD_ENDPOINT": &env.SandboxEtcd,
	} {
		if *field = os.Getenv(name); *field == "" {
			return env, fmt.Errorf("%s is not set: this runs against a real cluster, by `cargo xtask test cluster` or `cargo xtask bench`", name)
		}
	}
	return env, nil
}

// RestConfig of the administrator, without a client-side rate limit: tests and benchmarks measure the
// server.
func (env Environment) RestConfig() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", env.Kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return config, nil
}

// PodSpec of a container that does nothing, starts fast and ends fast. It says what a Sandbox has by default, for
// a bare Pod would mount a token, and that takes the kubelet longer than all of ours.
func PodSpec() map[string]any {
	return map[string]any{
		"terminationGracePeriodSeconds": int64(1),
		"automountServiceAccountToken":  false,
		"containers": []any{map[string]any{
			"name":            "main",
			"image":           Image,
			"imagePullPolicy": "Never",
			"command":         []any{"sh", "-c", idle},
		}},
	}
}

// Pod is a bare one with the same spec as that of Sandbox.
func Pod(namespace, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "Pod",
		"metadata":   map[string]any{"namespace": namespace, "name": name},
		"spec":       PodSpec(),
	}}
}

// Sandbox in its shortest form; options add to it.
func Sandbox(namespace, name string, options ...func(spec map[string]any)) *unstructured.Unstructured {
	spec := map[string]any{"podTemplate": map[string]any{"spec": PodSpec()}}
	for _, option := range options {
		option(spec)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": GroupVersion,
		"kind":       "Sandbox",
		"metadata":   map[string]any{"namespace": namespace, "name": name},
		"spec":       spec,
	}}
}

// Template in its shortest form, of the same Pod as Sandbox.
func Template(namespace, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": GroupVersion,
		"kind":       "SandboxTemplate",
		"metadata":   map[string]any{"namespace": namespace, "name": name},
		"spec":       map[string]any{"podTemplate": map[string]any{"spec": PodSpec()}},
	}}
}

// WithService asks for the headless Service.
func WithService(spec map[string]any) { spec["service"] = true }

// Suspended asks for no Pod: such a Sandbox costs the node nothing.
func Suspended(spec map[string]any) { spec["operatingMode"] = "Suspended" }

// WithWorkspace asks for a volume at /workspace.
func WithWorkspace(spec map[string]any) {
	spec["volumeClaimTemplates"] = []any{map[string]any{
		"metadata": map[string]any{"name": "workspace"},
		"spec": map[string]any{
			"accessModes": []any{"ReadWriteOnce"},
			"resources":   map[string]any{"requests": map[string]any{"storage": "16Mi"}},
		},
	}}
	pod := spec["podTemplate"].(map[string]any)["spec"].(map[string]any)
	container := pod["containers"].([]any)[0].(map[string]any)
	container["volumeMounts"] = []any{map[string]any{"name": "workspace", "mountPath": "/workspace"}}
}

// Condition returns the status, reason and message of a condition; empty when it is not there.
func Condition(object *unstructured.Unstructured, kind string) (status, reason, message string) {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, item := range conditions {
		if condition, ok := item.(map[string]any); ok && condition["type"] == kind {
			status, _ = condition["status"].(string)
			reason, _ = condition["reason"].(string)
			message, _ = condition["message"].(string)
		}
	}
	return status, reason, message
}
